# frozen_string_literal: true

# Serves calc over RabbitMQ until SIGTERM. Any number of these may serve one queue.

require 'bunny'
require_relative 'calc'

queue = ENV.fetch('QUEUE', 'calc')
url = ENV.fetch('BROKER_URL').chomp('/') # Bunny takes a bare / for the vhost ""
connection = Bunny.new(url, log_file: $stderr).start
at_exit { connection.close } # the broker gives what is not acknowledged to another server
exists = connection.queue_exists?(queue) # then it is used as it is, whatever its attributes
channel = connection.create_channel
channel.prefetch(16)

channel.queue(queue, durable: true, passive: exists).subscribe(manual_ack: true) do |delivery, properties, text|
  request = Calc.read(text)
  reply_queue = properties.reply_to || request['id']
  if reply_queue.is_a?(String) || Calc.notification?(request)
    answer = Calc.answer(request)
    reply = { routing_key: reply_queue, correlation_id: properties.correlation_id, content_type: 'application/json' }
    channel.default_exchange.publish(answer, reply) if answer
  else
    warn "no reply queue: #{text}"
  end
  channel.ack(delivery.delivery_tag) # only now: if this server dies before, another runs the request
end

trap('TERM') { exit }
warn 'ready'
sleep
