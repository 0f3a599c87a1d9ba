# frozen_string_literal: true

# Calls a service over Redis and prints each response on a line.
#
#   redis_client.rb [--timeout S] [--count N] URL QUEUE id|reply_to METHOD PARAMS [META]
#   redis_client.rb [--timeout S] URL QUEUE raw TEXT [REPLY_LIST]
#
# The style id pops each response from the list named by the request's id,
# reply_to pops all from a list that every request names. A "!METHOD" is a
# notification and waits for nothing. With a count, all requests are sent
# before the first response is waited for. raw sends the text unchanged, and
# waits only if it is given a list.

require 'json'
require 'optparse'
require 'redis'
require 'securerandom'
require_relative 'request'

options = ARGV.getopts('', 'timeout:10', 'count:1')
timeout = Float(options['timeout'])
url, queue, style, *message = ARGV
redis = Redis.new(url: url)

pop = lambda do |list|
  _, text = redis.brpop(list, timeout: timeout)
  text or abort "no response within #{timeout} s"
end

if style == 'raw'
  text, list = message
  redis.lpush(queue, text)
  puts pop.call(list) if list
  exit
end

reply_to = { reply_to: "reply:#{SecureRandom.hex(8)}" } if style == 'reply_to'
requests = Array.new(Integer(options['count'])) { { **new_request(*message), **reply_to.to_h } }
requests.each { |request| redis.lpush(queue, JSON.generate(request)) }

asked = requests.filter_map { |request| request[:id] }
responses = asked.map { |id| pop.call(reply_to ? reply_to[:reply_to] : id) }
answered = responses.map { |response| JSON.parse(response)['id'] }
abort "asked #{asked}, answered #{answered}" unless answered.tally == asked.tally

puts responses
