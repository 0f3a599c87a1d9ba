# frozen_string_literal: true

# Calls a method over Redis and prints the result. With a third argument, notify, it waits for none.

require 'json'
require 'redis'
require 'securerandom'

method, params, notify = ARGV
redis = Redis.new(url: ENV.fetch('BROKER_URL'))
request = { jsonrpc: '2.0', method: method, params: JSON.parse(params) }
unless notify
  # No other client has this id. It names the reply list as well, for servers that know no reply_to.
  # ACLs allow the lists that begin so.
  id = "jsonrpc2:reply:#{SecureRandom.uuid}"
  deadline = (redis.time.first + 30) * 1000 # when this client gives up, by the clock of Redis
  request.update(id: id, reply_to: id, deadline_ms: deadline)
end
redis.lpush(ENV.fetch('QUEUE', 'calc'), JSON.generate(request))
exit if notify

_, text = redis.brpop(id, timeout: 30)
abort 'no answer within 30 s' unless text
response = JSON.parse(text)
abort JSON.generate(response['error']) if response['error']
puts JSON.generate(response['result'])
