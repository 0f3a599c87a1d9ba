package brokertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	sentinelMaster = "mymaster"
	sentinelCount  = 3
)

// A Sentinel is a private Redis master with a replica, and three sentinels that watch them.
// The sentinels take a master for failed 3 s after its last answer.
type Sentinel struct {
	MasterName    string
	SentinelAddrs []string
	Nodes         []*Redis // the first master and its replica
	Sentinels     []*Redis // answer the SENTINEL commands only

	t testing.TB
}

// StartSentinel starts a master, a replica and their sentinels, and waits until all know each
// other. The test's cleanup ends them.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s := &Sentinel{MasterName: sentinelMaster, t: t}
	master := StartRedis(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := StartRedis(t, "--replicaof", host, port)
	s.Nodes = []*Redis{master, replica}
	require.NoError(t, poll(nil, func() error { return replica.says("INFO", "master_link_status:up") }))
	for range sentinelCount {
		sentinel := startSentinel(t, host, port)
		s.Sentinels = append(s.Sentinels, sentinel)
		s.SentinelAddrs = append(s.SentinelAddrs, sentinel.Addr)
	}
	known := fmt.Sprintf("status=ok,address=%s,slaves=1,sentinels=%d", master.Addr, sentinelCount)
	for _, sentinel := range s.Sentinels {
		require.NoError(t, poll(nil, func() error { return sentinel.says("INFO", known) }))
	}
	return s
}

// startSentinel starts one sentinel that watches a master.
func startSentinel(t testing.TB, host, port string) *Redis {
	t.Helper()
	return startRedis(t, func(int) string {
		return fmt.Sprintf(`sentinel monitor %[1]s %[2]s %[3]s %[4]d
sentinel down-after-milliseconds %[1]s 3000
sentinel failover-timeout %[1]s 5000`, sentinelMaster, host, port, sentinelCount/2+1)
	}, "--sentinel")
}

// Master waits until all sentinels that answer name the same master, and returns it.
func (s *Sentinel) Master() *Redis {
	s.t.Helper()
	return s.masterOtherThan(nil)
}

// masterOtherThan waits until the sentinels agree on a master that isn't old.
func (s *Sentinel) masterOtherThan(old *Redis) (master *Redis) {
	s.t.Helper()
	require.NoError(s.t, poll(nil, func() (err error) {
		master, err = s.agreed()
		if err == nil && master == old {
			err = fmt.Errorf("brokertest: %s is still the master", old.Addr)
		}
		return err
	}))
	return master
}

// agreed returns the master if all sentinels that answer name the same.
func (s *Sentinel) agreed() (*Redis, error) {
	var names []string
	for _, sentinel := range s.Sentinels {
		if name, err := sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME " + s.MasterName); err == nil {
			names = append(names, name)
		}
	}
	if names = slices.Compact(names); len(names) == 1 {
		for _, node := range s.Nodes {
			if names[0] == "["+strings.Replace(node.Addr, ":", " ", 1)+"]" {
				return node, nil
			}
		}
	}
	return nil, fmt.Errorf("brokertest: the sentinels name as the master %q", names)
}

// Failover makes the replica the master, in a planned failover. It waits until the sentinels
// and the new master know of it. The old master becomes a replica later, perhaps 10 s later. A
// second Failover waits for that.
func (s *Sentinel) Failover() {
	s.t.Helper()
	old := s.Master()
	require.NoError(s.t, poll(nil, func() error {
		_, err := s.Sentinels[0].ask("SENTINEL FAILOVER " + s.MasterName)
		return err
	}))
	require.NoError(s.t, s.masterOtherThan(old).says("INFO", "role:master"))
}
