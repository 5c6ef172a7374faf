// Package config fills a command's flags from where operators put their
// settings: the command line beats the environment, the environment beats the
// YAML file and its drop-ins, the file beats defaults.
//
// A flag has one name everywhere: --cluster-cidr, WEFT_CLUSTER_CIDR, and the key
// cluster-cidr in /etc/weft/server.yaml, whose drop-ins are
// /etc/weft/server.yaml.d/*.yaml, read in the order of their names. What is
// unknown in a file is refused with the nearest name.
//
// It does not judge values beyond what the flag's own type refuses: that is for
// the caller, who asks Origin where a value came from, so that the error can
// name it.
package config
