package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// Far above what any machine needs; reached only when something is lost.
const patience = time.Minute

// judge counts what was looked at and what was wrong.
type judge struct {
	checks, failed, lost atomic.Int64
}

// that counts a check, and tells of one that fails.
func (j *judge) that(ok bool, format string, args ...any) bool {
	j.checks.Add(1)
	if !ok {
		j.failed.Add(1)
		fmt.Fprintf(os.Stderr, "FAILED: "+format+"\n", args...)
	}
	return ok
}

// equal counts a comparison.
func (j *judge) equal(got, want any, format string, args ...any) bool {
	if reflect.DeepEqual(got, want) {
		return j.that(true, "")
	}
	return j.that(false, "%s:\n  got  %+v\n  want %+v", fmt.Sprintf(format, args...), got, want)
}

// missed counts an event that a watch should have seen and did not, or saw in another way.
func (j *judge) missed(format string, args ...any) {
	j.lost.Add(1)
	j.that(false, "lost: "+format, args...)
}

// must ends the program where going on makes no sense.
func must(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot go on: %v\n", err)
		os.Exit(1)
	}
}

func patiently() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// temporary makes a folder that its user removes.
func temporary() string {
	folder, err := os.MkdirTemp("", "apisix-mesh-etcd-clients-")
	must(err)
	return folder
}

// dial makes a client that, unlike an idle one, comes back at once after a cut.
func dial(ctx context.Context, address string, with *access) (*clientv3.Client, error) {
	quick := backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1.6, MaxDelay: 50 * time.Millisecond}
	config := clientv3.Config{
		Context:   ctx,
		Endpoints: []string{address},
		Logger:    zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: patience}),
		},
	}
	if with != nil {
		config.Username, config.Password, config.TLS = with.user, with.password, with.tls
	}
	return clientv3.New(config)
}

// connect makes a client of an endpoint that is open.
func connect(address string) *clientv3.Client {
	client, err := dial(context.Background(), address, nil)
	must(err)
	return client
}

// dice make the choices of one part of the program; the same seed makes the same ones.
type dice struct{ *rand.Rand }

func newDice(seed, part uint64) dice {
	return dice{rand.New(rand.NewPCG(seed, part))}
}

func (d dice) in(n int) bool { return d.IntN(n) == 0 }

func (d dice) between(low, high int) int { return low + d.IntN(high-low+1) }
