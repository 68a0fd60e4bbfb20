package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// startEtcd starts a real etcd in a folder of its own; again, if somebody took one of its ports meanwhile.
func startEtcd(program string) (string, func()) {
	for {
		folder := temporary()
		address, peer := freeAddress(), "http://"+freeAddress()
		client := "http://" + address
		process := exec.Command(program, "--data-dir", filepath.Join(folder, "data"), "--unsafe-no-fsync",
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
		// It must not outlive a program that cannot go on.
		process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		must(process.Start())
		ended := make(chan struct{})
		go func() {
			_ = process.Wait()
			close(ended)
		}()
		end := func() {
			_ = process.Process.Kill()
			<-ended
			os.RemoveAll(folder)
		}
		if isUp(address, ended) {
			return address, end
		}
		end()
	}
}

// isUp waits until it answers; it does not if it ends.
func isUp(address string, ended <-chan struct{}) bool {
	client := connect(address)
	defer client.Close()
	ctx, cancel := patiently()
	defer cancel()
	go func() {
		<-ended
		cancel()
	}()
	_, err := client.Get(ctx, "/")
	return err == nil
}

func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	return listener.Addr().String()
}
