# frozen_string_literal: true

# Calls a method over RabbitMQ and prints the result. With a third argument, notify, it waits for none.

require 'bunny'
require 'json'
require 'securerandom'
require 'timeout'

method, params, notify = ARGV
url = ENV.fetch('BROKER_URL').chomp('/') # Bunny takes a bare / for the vhost ""
connection = Bunny.new(url, verify_peer: true, log_file: $stderr).start
at_exit { connection.close } # and the reply queue goes
channel = connection.create_channel
queue = channel.queue(ENV.fetch('QUEUE', 'calc'), passive: true) # fails if no server has created it
request = { jsonrpc: '2.0', method: method, params: JSON.parse(params) }
properties = { content_type: 'application/json' }
answers = Queue.new
unless notify
  request[:id] = SecureRandom.uuid
  replies = channel.queue('', exclusive: true) # the broker names it
  replies.subscribe { |_, _, text| answers << text }
  properties.update(reply_to: replies.name, correlation_id: request[:id], expiration: '30000') # ms
end
queue.publish(JSON.generate(request), properties)
exit if notify

response = JSON.parse(Timeout.timeout(30, nil, 'no answer within 30 s') { answers.pop })
abort JSON.generate(response['error']) if response['error']
puts JSON.generate(response['result'])
