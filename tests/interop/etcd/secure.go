package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// access is what a store asks of its clients, and they of it.
type access struct {
	user, password string
	// Files of the server: its certificate, its key, and the roots of its clients' certificates.
	files string
	tls   *tls.Config
}

// newAccess makes a root, a certificate of the server and one of its clients, in a folder.
func newAccess(folder string) *access {
	root, rootKey := issue(nil, nil)
	server, serverKey := issue(root, rootKey)
	client, clientKey := issue(root, rootKey)
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(folder, name)
		must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600))
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(serverKey)
	must(err)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return &access{
		user:     "apisix",
		password: "open sesame",
		files: write("server.pem", "CERTIFICATE", server.Raw) + "," + write("server.key", "PRIVATE KEY", key) + "," +
			write("root.pem", "CERTIFICATE", root.Raw),
		tls: &tls.Config{
			RootCAs:      roots,
			Certificates: []tls.Certificate{{Certificate: [][]byte{client.Raw}, PrivateKey: clientKey}},
		},
	}
}

// issue makes a certificate; without a parent it is a root.
func issue(parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	must(err)
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  parent == nil,
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	must(err)
	made, err := x509.ParseCertificate(der)
	must(err)
	return made, key
}

// secured is an endpoint with a password and TLS on both sides.
func secured(j *judge, program string) {
	folder := temporary()
	defer os.RemoveAll(folder)
	with := newAccess(folder)
	s := open(program, settings{access: with})
	defer s.kill()
	ctx, cancel := patiently()
	defer cancel()
	now := s.commit(changes{Puts: map[string]string{"/routes/a": "1"}})
	key := prefix + "/routes/a"

	client := s.connect(s.address)
	defer client.Close()
	got, err := client.Get(ctx, key)
	j.that(err == nil && len(got.Kvs) == 1, "Get with a password over TLS: %v", err)
	event := <-client.Watch(ctx, key, clientv3.WithRev(now))
	j.that(event.Err() == nil && len(event.Events) == 1, "watch with a password over TLS: %v", event.Err())
	lease, err := client.Grant(ctx, 60)
	must(err)
	alive, err := client.KeepAlive(ctx, lease.ID)
	j.that(err == nil && (<-alive).TTL == 60, "a lease with a password over TLS: %v", err)

	for _, it := range []struct {
		name   string
		access access
		want   error
	}{
		{"a wrong password", with.as("apisix", "wrong"), rpctypes.ErrAuthFailed},
		{"a wrong user", with.as("root", "open sesame"), rpctypes.ErrAuthFailed},
		{"no password", with.as("", ""), rpctypes.ErrUserEmpty},
	} {
		err := getAs(ctx, s.address, &it.access, key)
		j.that(errors.Is(err, it.want), "Get with %s: %v", it.name, err)
	}
	brief, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	plain := *with
	plain.tls = nil
	j.that(getAs(brief, s.address, &plain, key) != nil, "Get in plaintext")
	unknown := with.as("apisix", "open sesame")
	unknown.tls = &tls.Config{RootCAs: with.tls.RootCAs}
	j.that(getAs(brief, s.address, &unknown, key) != nil, "Get without a certificate")
}

func getAs(ctx context.Context, address string, as *access, key string) error {
	client, err := dial(ctx, address, as)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Get(ctx, key)
	return err
}

// as is the access of somebody else.
func (a *access) as(user, password string) access {
	other := *a
	other.user, other.password = user, password
	return other
}
