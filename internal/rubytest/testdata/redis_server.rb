# frozen_string_literal: true

# Serves calc over Redis until SIGTERM.
#
#   redis_server.rb URL QUEUE id|reply_to
#
# The style is the only member of the request that it takes for the name of
# the reply list.

require 'json'
require 'redis'
require_relative 'calc'

url, queue, style = ARGV
redis = Redis.new(url: url)
redis.ping

trap('TERM') { exit }
$stdout.sync = true
puts 'ready'

loop do
  _, text = redis.brpop(queue)
  request, response = Calc.serve(text)
  next unless response

  list = request[style]
  next warn "no #{style} to answer to: #{text}" unless list.is_a?(String)

  redis.rpush(list, JSON.generate(response))
  redis.expire(list, 30)
end
