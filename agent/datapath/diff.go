package datapath

import "fmt"

// State is a set of kernel objects.
type State map[Key]Object

// Merge makes a State of what producers gave. Two different values under one key
// are an error that names both; equal ones are one.
func Merge(producers ...[]Object) (State, error) {
	s := State{}
	for _, objects := range producers {
		for _, o := range objects {
			if have, ok := s[o.Key()]; ok && have != o {
				return nil, fmt.Errorf("datapath: two producers want different things: %q and %q", have, o)
			}
			s[o.Key()] = o
		}
	}
	return s, nil
}

// Op is one step from what is to what should be. Old is nil when New is to be
// added, New is nil when Old is to be deleted, else Old becomes New.
type Op struct {
	Old, New Object
}

// Key names the object that the step is about.
func (o Op) Key() Key {
	if o.New != nil {
		return o.New.Key()
	}
	return o.Old.Key()
}

// String is the step as an operator would write it: + added, - deleted, ~ changed.
func (o Op) String() string {
	switch {
	case o.Old == nil:
		return "+ " + o.New.String()
	case o.New == nil:
		return "- " + o.Old.String()
	}
	return "~ " + o.New.String() + " (was: " + o.Old.String() + ")"
}

// Kinds is a set of kinds: which of them must be looked at again.
type Kinds uint16

// AllKinds is every kind.
const AllKinds Kinds = 1<<kindEnd - 1

// Of makes a set.
func Of(kinds ...Kind) Kinds {
	var out Kinds
	for _, k := range kinds {
		out |= 1 << k
	}
	return out
}

// Has tells whether a kind is in the set.
func (k Kinds) Has(kind Kind) bool { return k&(1<<kind) != 0 }
