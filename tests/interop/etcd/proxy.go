package main

import (
	"net"
	"sync"
	"sync/atomic"
)

// proxy passes bytes between clients and a store, and cuts connections.
type proxy struct {
	listener net.Listener
	// Where the store is; it moves when it is started again.
	target atomic.Pointer[string]
	// How many bytes a new connection may carry to its client, below 0 for any number; each is cut there.
	budget func() int64
	cuts   atomic.Int64
}

func newProxy(target string, budget func() int64) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	p := &proxy{listener: listener, budget: budget}
	p.aim(target)
	go p.accept()
	return p
}

func (p *proxy) aim(target string) { p.target.Store(&target) }

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", *p.target.Load())
	if err != nil {
		client.Close()
		return
	}
	var once sync.Once
	end := func() {
		once.Do(func() {
			client.Close()
			server.Close()
		})
	}
	go func() {
		pass(server, client, -1)
		end()
	}()
	budget := p.budget()
	if pass(client, server, budget) {
		p.cuts.Add(1)
		if budget%2 == 0 {
			// What is under way is thrown away, at both ends.
			client.(*net.TCPConn).SetLinger(0)
			server.(*net.TCPConn).SetLinger(0)
		}
	}
	end()
}

// pass copies until an end closes or the budget, if there is one, is used up; whether it was.
func pass(to, from net.Conn, budget int64) bool {
	buffer := make([]byte, 32<<10)
	for budget != 0 {
		room := buffer
		if budget > 0 && budget < int64(len(room)) {
			room = room[:budget]
		}
		n, err := from.Read(room)
		if budget > 0 {
			budget -= int64(n)
		}
		if _, failed := to.Write(room[:n]); failed != nil || err != nil {
			return false
		}
	}
	return true
}
