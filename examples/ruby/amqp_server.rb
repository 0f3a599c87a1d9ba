# frozen_string_literal: true

# Serves calc over RabbitMQ until SIGTERM. Any number of these may serve one queue.

require 'bunny'
require_relative 'calc'

queue = ENV.fetch('QUEUE', 'calc')
url = ENV.fetch('BROKER_URL').chomp('/') # Bunny takes a bare / for the vhost ""
connection = Bunny.new(url, verify_peer: true, log_file: $stderr).start
running = Mutex.new # locked while a request runs, and for ever in the end
at_exit { running.lock && connection.close } # the broker gives what is not acknowledged to another server
exists = connection.queue_exists?(queue) # then it is used as it is, whatever its attributes
channel = connection.create_channel
channel.prefetch(16)

channel.queue(queue, durable: true, passive: exists).subscribe(manual_ack: true) do |delivery, properties, text|
  running.synchronize do
    message = Calc.read(text)
    id = Calc.string_id(message) # stands for a property that is missing
    reply_queue = Calc.address(properties.reply_to, id)
    if [nil, queue].include?(reply_queue) && Calc.wants_answer?(message)
      warn "no reply queue: #{text}"
    elsif (answer = Calc.answer(message))
      correlation_id = Calc.address(properties.correlation_id, id)
      reply = { routing_key: reply_queue, correlation_id: correlation_id, content_type: 'application/json' }
      channel.default_exchange.publish(answer, reply)
    end
    channel.ack(delivery.delivery_tag) # only now: if this server dies before, another runs the request
  end
end

trap('TERM') { exit }
warn 'ready'
sleep
