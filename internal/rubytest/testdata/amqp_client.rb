# frozen_string_literal: true

# Calls a service over RabbitMQ and prints the response.
#
#   amqp_client.rb [--timeout S] [--passive] URL QUEUE id|reply_to METHOD PARAMS
#
# The style id consumes the response from an auto-delete queue named by the
# request's id, which no property mentions; reply_to from an exclusive one
# named by the broker, in the properties reply_to and correlation_id. A
# "!METHOD" is a notification and waits for nothing. QUEUE is declared plain
# unless passive asks for one that is there, whatever its attributes.

require 'bunny'
require 'json'
require 'optparse'
require 'timeout'
require_relative 'request'

options = ARGV.getopts('', 'timeout:10', 'passive')
timeout = Float(options['timeout'])
url, queue, style, *message = ARGV
request = new_request(*message)
id = request[:id]

connection = Bunny.new(url.chomp('/')).start # a bare / would mean the vhost ""
at_exit { connection.close }
channel = connection.create_channel
channel.queue(queue, passive: options['passive'])

responses = Queue.new
properties = { routing_key: queue }
if id && style == 'id'
  channel.queue(id, auto_delete: true).subscribe { |_, _, text| responses << text }
elsif id
  replies = channel.queue('', exclusive: true)
  replies.subscribe { |_, reply, text| responses << text if reply.correlation_id == id }
  properties.update(reply_to: replies.name, correlation_id: id)
end

channel.default_exchange.publish(JSON.generate(request), properties)
exit unless id

begin
  puts Timeout.timeout(timeout) { responses.pop }
rescue Timeout::Error
  abort "no response within #{timeout} s"
end
