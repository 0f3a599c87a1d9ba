# frozen_string_literal: true

# Serves calc over Redis until SIGTERM. Any number of these may serve one queue.

require 'redis'
require_relative 'calc'

queue = ENV.fetch('QUEUE', 'calc')
redis = Redis.new(url: ENV.fetch('BROKER_URL'))
redis.ping # fails at once if there is no Redis
stopping = false
trap('TERM') { stopping = true }
warn 'ready'

until stopping
  _, text = redis.brpop(queue, timeout: 1) # the oldest request, or nil after a second
  next unless text

  request = Calc.read(text)
  reply_list = request.values_at('reply_to', 'id').find { |name| name.is_a?(String) && name != queue }
  next warn "no reply list: #{text}" unless reply_list || Calc.notification?(request)

  deadline = request['deadline_ms'] # by the clock of Redis
  next if deadline.is_a?(Integer) && deadline < redis.time.first * 1000 # nobody waits any more

  answer = Calc.answer(request)
  next unless answer

  redis.multi do |transaction|
    transaction.rpush(reply_list, answer)
    transaction.expire(reply_list, 30) # or the answer to a client that is gone would stay for ever
  end
end
