package redisconn

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Server is a ServerConn that has announced itself as one that serves a queue.
type Server struct {
	ID     string    `json:"id"` // of this ServerConn alone
	Host   string    `json:"host"`
	PID    int       `json:"pid"`
	Places int       `json:"places"` // how many requests it takes at once
	Since  time.Time `json:"since"`  // when it began to serve, by the clock of its machine
}

// Servers returns the servers of a queue whose announcements have not ended, the oldest
// first. A server that was killed is among them for up to 30 s. Servers that are not of this
// package do not announce themselves. Anybody may write to the set of announcements: Servers
// leaves out members that are no announcements. The error says that Redis did not answer,
// refused a command, or tells its time neither by TIME nor by a script.
func Servers(ctx context.Context, rdb redis.UniversalClient, queue string) ([]Server, error) {
	if err := checkQueue(rdb, queue); err != nil {
		return nil, err
	}
	members, err := announcements(ctx, rdb, queue)
	if err != nil {
		return nil, fmt.Errorf("redisconn: servers of queue %q at %s: %w", queue, addressOf(rdb), err)
	}
	var servers []Server
	for _, member := range members {
		var s Server
		if json.Unmarshal([]byte(member), &s) == nil && s.ID != "" {
			servers = append(servers, s)
		}
	}
	slices.SortFunc(servers, func(a, b Server) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return servers, nil
}

// announcements returns the announcements that have not ended.
func announcements(ctx context.Context, rdb redis.UniversalClient, queue string) ([]string, error) {
	now, err := brokerTime(ctx, rdb, queue)
	switch {
	case err != nil:
		return nil, err
	case now.IsZero():
		return nil, errNoTime
	}
	lasting := &redis.ZRangeBy{Min: lastingFrom(now.UnixMilli()), Max: "+inf"}
	return rdb.ZRangeByScore(ctx, serversKey(queue), lasting).Result()
}

// countServers returns the command that counts the announcements which last longer than now,
// in Unix milliseconds by the clock of Redis.
func countServers(queue string, now int64) []any {
	return []any{"zcount", serversKey(queue), lastingFrom(now), "+inf"}
}

// lastingFrom returns the lowest score of an announcement that has not ended: as an exclusive
// bound, since a score is when the announcement ends.
func lastingFrom(now int64) string { return fmt.Sprintf("(%d", now) }
