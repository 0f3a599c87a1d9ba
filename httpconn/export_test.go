package httpconn

// DefaultMaxWait is the default of ListenOptions.MaxWait.
const DefaultMaxWait = defaultMaxWait
