package main

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The directories whose markers APISIX looks for.
var directories = []string{
	"consumer_groups", "consumers", "global_rules", "plugin_configs", "plugin_metadata", "plugins", "protos", "routes",
	"secrets", "services", "ssls", "stream_routes", "upstreams",
}

// reads asks for one small history in every way that a Get has.
func reads(j *judge, program string) {
	s, client, ctx, done := stage(program, settings{})
	defer done()

	one := s.commit(changes{Puts: map[string]string{"/routes/a": "1", "/routes/b": "3"}})
	two := s.commit(changes{Puts: map[string]string{"/routes/a": "2", "/routes/c": "1"}})
	three := s.commit(changes{Deletes: []string{"/routes/b"}})
	objects := func(key string, options ...clientv3.OpOption) (string, *clientv3.GetResponse) {
		got, err := client.Get(ctx, prefix+key, options...)
		if !j.that(err == nil, "Get %s: %v", key, err) {
			return err.Error(), &clientv3.GetResponse{}
		}
		text := ""
		for _, kv := range got.Kvs {
			text += fmt.Sprintf("%s=%s ", kv.Key[bytes.LastIndexByte(kv.Key, '/')+1:], kv.Value)
		}
		return text, got
	}
	const from = "/routes/a"
	end := clientv3.WithRange(prefix + "/routes0")
	for _, it := range []struct {
		name, want string
		key        string
		options    []clientv3.OpOption
	}{
		{"key", "a=2 ", from, nil},
		{"no key", "", "/routes/b", nil},
		{"range", "a=2 c=1 ", from, []clientv3.OpOption{end}},
		{"end left out", "a=2 ", from, []clientv3.OpOption{clientv3.WithRange(prefix + "/routes/c")}},
		{"prefix", "=init_dir a=2 c=1 ", "/routes/", []clientv3.OpOption{clientv3.WithPrefix()}},
		{"limit", "a=2 ", from, []clientv3.OpOption{end, clientv3.WithLimit(1)}},
		{"old", "a=1 b=3 ", from, []clientv3.OpOption{end, clientv3.WithRev(one)}},
		{"old key", "b=3 ", "/routes/b", []clientv3.OpOption{clientv3.WithRev(two)}},
		{"keys", "a= c= ", from, []clientv3.OpOption{end, clientv3.WithKeysOnly()}},
		{"count", "", from, []clientv3.OpOption{end, clientv3.WithCountOnly()}},
		{"serializable", "a=2 c=1 ", from, []clientv3.OpOption{end, clientv3.WithSerializable()}},
		{"descending", "c=1 a=2 ", from, []clientv3.OpOption{end, clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)}},
		{"by value", "c=1 a=2 ", from, []clientv3.OpOption{end, clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend)}},
		{"by version", "a=2 c=1 ", from, []clientv3.OpOption{end, clientv3.WithSort(clientv3.SortByVersion, clientv3.SortDescend)}},
		{"by creation", "c=1 a=2 ", from, []clientv3.OpOption{end, clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend)}},
		{"first created", "a=2 ", from, append(clientv3.WithFirstCreate(), end)},
		{"last key", "c=1 ", from, append(clientv3.WithLastKey(), end)},
		{"last changed", "b=3 ", from, append(clientv3.WithLastRev(), end, clientv3.WithRev(one), clientv3.WithMinCreateRev(one))},
		{"changed since", "a=2 c=1 ", from, []clientv3.OpOption{end, clientv3.WithMinModRev(two)}},
		{"changed until", "", from, []clientv3.OpOption{end, clientv3.WithMaxModRev(one)}},
		{"created since", "c=1 ", from, []clientv3.OpOption{end, clientv3.WithMinCreateRev(two)}},
		{"created until", "a=2 ", from, []clientv3.OpOption{end, clientv3.WithMaxCreateRev(one)}},
	} {
		text, got := objects(it.key, it.options...)
		if it.name == "last changed" {
			// Both were, and etcd leaves open which comes first.
			j.that(text == "a=1 " || text == "b=3 ", "Get, %s: %q", it.name, text)
		} else {
			j.equal(text, it.want, "Get, %s", it.name)
		}
		j.equal(got.Header.Revision, three, "Get, %s: revision of the header", it.name)
	}
	_, got := objects(from, end, clientv3.WithLimit(1))
	j.equal([]any{got.Count, got.More}, []any{int64(2), true}, "what a limit leaves out")
	_, got = objects(from, end, clientv3.WithCountOnly())
	j.equal([]any{got.Count, len(got.Kvs)}, []any{int64(2), 0}, "a count")
	_, got = objects("", clientv3.WithPrefix())
	j.equal(int(got.Count), len(directories)+2, "all there is")
	transactions(j, client, three)
}

// transactions are those that only read.
func transactions(j *judge, client *clientv3.Client, revision int64) {
	ctx, cancel := patiently()
	defer cancel()
	a, b := prefix+"/routes/a", prefix+"/routes/b"
	for _, it := range []struct {
		condition clientv3.Cmp
		holds     bool
	}{
		{clientv3.Compare(clientv3.Value(a), "=", "2"), true},
		{clientv3.Compare(clientv3.Value(a), "!=", "2"), false},
		{clientv3.Compare(clientv3.Version(a), ">", 1), true},
		{clientv3.Compare(clientv3.ModRevision(a), "<", revision), true},
		{clientv3.Compare(clientv3.CreateRevision(b), "=", 0), true},
		{clientv3.Compare(clientv3.LeaseValue(a), "=", 0), true},
		{clientv3.Compare(clientv3.Version(a).WithPrefix(), ">", 2), false},
	} {
		got, err := client.Txn(ctx).If(it.condition).
			Then(clientv3.OpGet(a), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(b)}, nil)).
			Else(clientv3.OpGet(b), clientv3.OpGet(a, clientv3.WithCountOnly())).Commit()
		if !j.that(err == nil, "Txn: %v", err) {
			continue
		}
		j.equal([]any{got.Succeeded, got.Header.Revision}, []any{it.holds, revision}, "Txn if %v", it.condition)
		if it.holds {
			j.equal(string(got.Responses[0].GetResponseRange().Kvs[0].Value), "2", "what Txn read")
			j.equal(got.Responses[1].GetResponseTxn().Responses[0].GetResponseRange().Count, int64(0), "what its Txn read")
		} else {
			j.equal(got.Responses[1].GetResponseRange().Count, int64(1), "what Txn counted")
		}
	}
}

// refusals are etcd's own errors, as the client knows them.
func refusals(j *judge, program string) {
	s, client, ctx, done := stage(program, settings{commits: 2})
	defer done()

	key := prefix + "/routes/a"
	old := s.commit(changes{Puts: map[string]string{"/routes/a": "1"}})
	s.commit(changes{Puts: map[string]string{"/routes/a": "2"}})
	now := s.commit(changes{Puts: map[string]string{"/routes/a": "3"}})
	with := func(options ...clientv3.OpOption) error {
		_, err := client.Get(ctx, key, options...)
		return err
	}
	_, put := client.Put(ctx, key, "4")
	_, puts := client.Txn(ctx).Then(clientv3.OpGet(key), clientv3.OpPut(key, "4")).Commit()
	_, untaken := client.Txn(ctx).If(clientv3.Compare(clientv3.Version(key), "=", 0)).Then(clientv3.OpDelete(key)).Commit()
	_, deletes := client.Delete(ctx, key, clientv3.WithPrefix())
	_, compact := client.Compact(ctx, now)
	_, empty := client.Get(ctx, "")
	var many []clientv3.Op
	for range 129 {
		many = append(many, clientv3.OpGet(key))
	}
	_, tooMany := client.Txn(ctx).Then(many...).Commit()
	_, twice := client.Txn(ctx).Then(clientv3.OpPut(key, "4"), clientv3.OpPut(key, "5")).Commit()
	for _, it := range []struct {
		name      string
		got, want error
	}{
		{"put", put, rpctypes.ErrPermissionDenied},
		{"put in a transaction", puts, rpctypes.ErrPermissionDenied},
		{"delete in the branch not taken", untaken, rpctypes.ErrPermissionDenied},
		{"delete", deletes, rpctypes.ErrPermissionDenied},
		{"compact", compact, rpctypes.ErrPermissionDenied},
		{"no key", empty, rpctypes.ErrEmptyKey},
		{"many operations", tooMany, rpctypes.ErrTooManyOps},
		{"one key twice", twice, rpctypes.ErrDuplicateKey},
		{"compacted", with(clientv3.WithRev(old)), rpctypes.ErrCompacted},
		{"future", with(clientv3.WithRev(now + 1)), rpctypes.ErrFutureRev},
	} {
		j.that(errors.Is(it.got, it.want), "%s: %v, should be %v", it.name, it.got, it.want)
	}
	_, err := client.Put(ctx, prefix+"/routes/", marker)
	j.that(err == nil, "what APISIX's command line writes: %v", err)
	got, err := client.Get(ctx, key)
	j.that(err == nil && string(got.Kvs[0].Value) == "3" && got.Header.Revision == now, "nothing was written: %v %v", got, err)
}
