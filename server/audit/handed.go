package audit

import (
	"strings"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"google.golang.org/protobuf/proto"
)

// handed is an act as it was asked for, when another server hands it on that cannot
// write it down any more because of it: by whom, from where, and by which method. It answers with what was asked for, too.
func handed(act journal.Act, m proto.Message) (journal.Act, proto.Message, bool) {
	r, ok := m.(*weftv1.MembersTakeOutRequest)
	if !ok {
		return act, m, false
	}
	if r.GetUser() != "" {
		act.User, act.Role, act.Serial, act.From = r.GetUser(), r.GetRole(), r.GetSerial(), r.GetFrom()
	}
	act.Method = strings.TrimPrefix(weftv1.Members_Remove_FullMethodName, "/")
	act.Verb = verb(act.Method)
	return act, &weftv1.MembersRemoveRequest{Name: r.GetName()}, true
}

// recordedBy is the server that has written down what an answer is about; empty:
// nobody yet.
func recordedBy(answer proto.Message) string {
	r, ok := answer.(*weftv1.MembersRemoveResponse)
	if !ok {
		return ""
	}
	return r.GetRecordedBy()
}
