package redisconn

// The defaults of the options.
const (
	DefaultPrefetch = defaultPrefetch
	DefaultReplyTTL = defaultReplyTTL
)
