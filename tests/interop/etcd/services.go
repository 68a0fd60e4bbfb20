package main

import (
	"errors"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// leases are granted, kept alive and forgotten as a client's session does it.
func leases(j *judge, program string) {
	_, client, ctx, done := stage(program, settings{})
	defer done()

	granted, err := client.Grant(ctx, 60)
	must(err)
	j.that(granted.ID > 0 && granted.TTL == 60, "a grant: %+v", granted)
	short, err := client.Grant(ctx, 1)
	j.that(err == nil && short.TTL >= 1, "etcd may give more than is asked for: %+v %v", short, err)
	once, err := client.KeepAliveOnce(ctx, granted.ID)
	j.that(err == nil && once.TTL == 60, "kept alive once: %+v %v", once, err)
	left, err := client.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	j.that(err == nil && left.GrantedTTL == 60 && left.TTL > 0 && left.TTL <= 60 && len(left.Keys) == 0, "left: %+v %v", left, err)
	all, err := client.Leases(ctx)
	ids := map[clientv3.LeaseID]bool{}
	if j.that(err == nil, "all leases: %v", err) {
		for _, lease := range all.Leases {
			ids[lease.ID] = true
		}
	}
	j.that(ids[granted.ID], "it is listed: %v", slices.Collect(maps.Keys(ids)))

	alive, err := client.KeepAlive(ctx, short.ID)
	must(err)
	for i := range 2 {
		answer, open := <-alive
		j.that(open && answer.TTL == short.TTL, "kept alive %d: %+v", i, answer)
	}

	_, err = client.Revoke(ctx, granted.ID)
	j.that(err == nil, "revoke: %v", err)
	_, err = client.Revoke(ctx, granted.ID)
	j.that(errors.Is(err, rpctypes.ErrLeaseNotFound), "revoked twice: %v", err)
	_, err = client.KeepAliveOnce(ctx, granted.ID)
	j.that(errors.Is(err, rpctypes.ErrLeaseNotFound), "kept alive when it is gone: %v", err)
	left, err = client.TimeToLive(ctx, granted.ID)
	j.that(err == nil && left.TTL == -1, "what is left of one that is gone: %+v %v", left, err)
	_, err = client.Grant(ctx, 9_000_000_001)
	j.that(errors.Is(err, rpctypes.ErrLeaseTTLTooLarge), "for ever: %v", err)

	session, err := concurrency.NewSession(client, concurrency.WithTTL(5))
	if j.that(err == nil, "a session: %v", err) {
		j.that(session.Close() == nil, "its end")
	}
}

// cluster is one member; a client that asks who the members are must still find it.
func cluster(j *judge, program string) {
	s, client, ctx, done := stage(program, settings{})
	defer done()
	now := s.commit(changes{Puts: map[string]string{"/routes/a": "1"}})

	members, err := client.MemberList(ctx)
	must(err)
	j.that(len(members.Members) == 1 && members.Members[0].Name != "" && !members.Members[0].IsLearner, "members: %v", members)
	status, err := client.Status(ctx, s.address)
	if j.that(err == nil, "status: %v", err) {
		j.that(status.Leader == members.Members[0].ID && status.Leader == status.Header.MemberId, "the leader: %+v", status)
		j.that(status.Version != "" && status.Header.Revision == now && len(status.Errors) == 0, "status: %+v", status)
	}
	j.equal(status.Header.ClusterId, members.Header.ClusterId, "the cluster")
	_, err = client.MemberAdd(ctx, []string{"http://127.0.0.1:1"})
	j.that(err != nil, "a member was added")

	urls := members.Members[0].ClientURLs
	// Without one a client that syncs its endpoints is left with none.
	j.that(len(urls) == 1 && urls[0] == "http://"+s.address, "addresses of the member: %v", urls)
	j.that(client.Sync(ctx) == nil, "sync")
	brief, cancel := patiently()
	defer cancel()
	got, err := client.Get(brief, prefix+"/routes/a")
	j.that(err == nil && len(got.Kvs) == 1, "Get after a sync of the endpoints with %v: %v", urls, err)
}

// maintenance are the calls that tools make.
func maintenance(j *judge, program string) {
	s, client, ctx, done := stage(program, settings{})
	defer done()
	now := s.commit(changes{Puts: map[string]string{"/routes/a": "1"}})

	alarms, err := client.AlarmList(ctx)
	if j.that(err == nil, "AlarmList: %v", err) {
		j.equal(len(alarms.Alarms), 0, "alarms")
	}
	hash, err := client.HashKV(ctx, s.address, 0)
	if j.that(err == nil, "HashKV: %v", err) {
		again, err := client.HashKV(ctx, s.address, now)
		j.that(err == nil && again.Hash == hash.Hash, "the hash of the same revision: %v %v", hash, again)
		s.commit(changes{Puts: map[string]string{"/routes/a": "2"}})
		then, err := client.HashKV(ctx, s.address, now)
		j.that(err == nil && then.Hash == hash.Hash, "the hash of a former revision: %v %v %v", hash, then, err)
		other, err := client.HashKV(ctx, s.address, 0)
		j.that(err == nil && other.Hash != hash.Hash, "the hash of another revision: %v %v %v", hash, other, err)
	}
	_, err = client.AuthStatus(ctx)
	j.that(err == nil, "AuthStatus: %v", err)
	_, err = client.Defragment(ctx, s.address)
	j.that(err == nil || refused(err), "Defragment: %v", err)
	_, err = client.UserList(ctx)
	j.that(err == nil || refused(err), "UserList: %v", err)
	_, err = pb.NewMaintenanceClient(client.ActiveConnection()).Hash(ctx, &pb.HashRequest{})
	j.that(err == nil, "Hash: %v", err)
}

// refused is a plain answer that there is no such thing here.
func refused(err error) bool {
	return status.Code(err) == codes.Unimplemented || errors.Is(err, rpctypes.ErrPermissionDenied)
}
