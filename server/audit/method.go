package audit

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-net/weft/server/kind"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// own are services that write of their own accord, or nothing: agents' streams,
// certificates, what servers say to each other. What comes of them are events.
var own = []string{"grpc.", "weft.v1.NodeSync", "weft.v1.Join"}

// among are what servers ask each other: for themselves, thousands of times when
// agents come, or for somebody whose call the server that he asked writes down.
var among = []string{"Acquire", "Release", "Inspect", "Defragment", "Ask"}

// reads are how the names of methods begin that change nothing.
var reads = []string{
	"List", "Get", "Watch", "Plan", "Diff", "Explain", "WaitForRevision", "WhoOwns", "WhoServes", "Matrix", "Probe", "History", "Verify", "Check", "Status", "Forward",
}

// writes tells whether a method ("/weft.v1.Resources/Apply") is one.
func writes(method string) bool {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if service == "weft.v1.Members" && slices.Contains(among, name) {
		return false
	}
	return !slices.ContainsFunc(own, func(s string) bool { return service == s || strings.HasSuffix(s, ".") && strings.HasPrefix(service, s) }) &&
		!slices.ContainsFunc(reads, func(r string) bool { return strings.HasPrefix(name, r) })
}

// verb is what a method does: apply, delete.
func verb(method string) string {
	return strings.ToLower(method[strings.LastIndex(method, "/")+1:])
}

// dry tells whether a request asks to change nothing.
func dry(m proto.Message) bool {
	if m == nil {
		return false
	}
	f := m.ProtoReflect().Descriptor().Fields().ByName("dry_run")
	return f != nil && f.Kind() == protoreflect.BoolKind && m.ProtoReflect().Get(f).Bool()
}

// revision is what an answer says it made; 0 if it says nothing.
func revision(m proto.Message) int64 {
	f := m.ProtoReflect().Descriptor().Fields().ByName("revision")
	if f == nil || f.Kind() != protoreflect.Int64Kind {
		return 0
	}
	return m.ProtoReflect().Get(f).Int()
}

// nouns are what the objects of a service are called.
var nouns = map[string]string{
	"Resources": "Resource", "Nodes": "Node", "Leases": "Lease", "Tokens": "Token", "Users": "User",
	"Members": "Server", "Backups": "Backup", "Authority": "CA", "Diagnose": "Process", "Mesh": "Node",
}

// fields hold names of objects; the empty noun is the service's own. Nothing else
// of a request is written down.
var fields = map[protoreflect.Name]string{
	"node": "Node", "nodes": "Node", "server": "Server", "user": "User", "name": "", "id": "", "new_name": "", "old": "", "new": "",
}

// objects are the names of what a request is about.
func objects(method string, m proto.Message) []string {
	if m == nil {
		return nil
	}
	r := m.ProtoReflect()
	if items := r.Descriptor().Fields().ByName("items"); items != nil && items.IsList() && items.Message() != nil {
		return listed(r.Get(items).List())
	}
	if o := named(r); o != "" {
		return []string{o}
	}
	if file := r.Descriptor().Fields().ByName("file"); file != nil && file.Message() != nil && !file.IsList() {
		return texts(noun(method), r.Get(file).Message())
	}
	return texts(noun(method), r)
}

// listed names the objects of a list.
func listed(list protoreflect.List) []string {
	var out []string
	for i := range list.Len() {
		if o := named(list.Get(i).Message()); o != "" {
			out = append(out, o)
		}
	}
	return out
}

// named is Kind/name of a message that has both, on itself or in metadata.
func named(r protoreflect.Message) string {
	fields := r.Descriptor().Fields()
	k := fields.ByName("kind")
	if k == nil || k.Kind() != protoreflect.StringKind {
		return ""
	}
	holder := r
	if meta := fields.ByName("metadata"); meta != nil && meta.Message() != nil {
		holder = r.Get(meta).Message()
	}
	name := holder.Descriptor().Fields().ByName("name")
	if name == nil {
		return ""
	}
	text := r.Get(k).String()
	if info, err := kind.Find(text); err == nil {
		text = info.Name
	}
	return text + "/" + holder.Get(name).String()
}

// texts are the fields that hold names.
func texts(noun string, r protoreflect.Message) []string {
	var out []string
	list := r.Descriptor().Fields()
	for i := range list.Len() {
		f := list.Get(i)
		of, ok := fields[f.Name()]
		if !ok || f.Kind() != protoreflect.StringKind || f.IsMap() {
			continue
		}
		if of == "" {
			of = noun
		}
		values := []string{}
		if f.IsList() {
			for j := range r.Get(f).List().Len() {
				values = append(values, r.Get(f).List().Get(j).String())
			}
		} else {
			values = append(values, r.Get(f).String())
		}
		for _, v := range values {
			if v != "" {
				out = append(out, of+"/"+v)
			}
		}
	}
	return out
}

// made are the names of what a call made, where only its answer knows them.
func made(method string, answer proto.Message) []string {
	r := answer.ProtoReflect()
	switch verb(method) {
	case "create", "save":
	case "restore":
		return restored(r)
	default:
		return nil
	}
	out := texts(noun(method), r)
	list := r.Descriptor().Fields()
	for i := range list.Len() {
		if f := list.Get(i); f.Message() != nil && !f.IsList() && !f.IsMap() && r.Has(f) {
			out = append(out, texts(noun(method), r.Get(f).Message())...)
		}
	}
	return out
}

// restored are the file that a restore is of, and the epoch that begins by it.
func restored(answer protoreflect.Message) []string {
	fields := answer.Descriptor().Fields()
	file, epoch := fields.ByName("backup"), fields.ByName("epoch")
	if file == nil || file.Message() == nil || epoch == nil || epoch.Kind() != protoreflect.Uint64Kind {
		return nil
	}
	var out []string
	if name := file.Message().Fields().ByName("name"); name != nil {
		out = append(out, "Backup/"+answer.Get(file).Message().Get(name).String())
	}
	return append(out, "Epoch/"+strconv.FormatUint(answer.Get(epoch).Uint(), 10))
}

func noun(method string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	service = service[strings.LastIndex(service, ".")+1:]
	if n, ok := nouns[service]; ok {
		return n
	}
	return service
}

// host is an address without its port.
func host(addr string) string {
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return h
}
