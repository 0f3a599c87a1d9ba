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

  message = Calc.read(text)
  first = Calc.requests(message).first # whose reply_to and deadline_ms count for a whole batch
  reply_list = Calc.address(first['reply_to'], Calc.string_id(message))
  next warn "no reply list: #{text}" if [nil, queue].include?(reply_list) && Calc.wants_answer?(message)

  deadline = first['deadline_ms'] # by the clock of Redis
  next if deadline.is_a?(Numeric) && deadline.positive? && deadline < redis.time.first * 1000 # nobody waits any more

  answer = Calc.answer(message)
  next unless answer

  begin
    redis.multi do |transaction|
      transaction.rpush(reply_list, answer)
      transaction.expire(reply_list, 30) # or the answer to a client that is gone would stay for ever
    end
  rescue Redis::CommandError => e # the client has named a key that is no list, or is denied
    warn "no answer on #{reply_list}: #{e.message}"
  end
end
