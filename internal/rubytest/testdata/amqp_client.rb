# frozen_string_literal: true

# Calls a service over RabbitMQ and prints each response on a line.
#
#   amqp_client.rb [--timeout S] [--count N] [--passive] URL QUEUE id|late|reply_to METHOD PARAMS [META]
#
# The style id consumes each response from an auto-delete queue named by the
# request's id, which no property mentions; late the same, which reply_to names
# and which is declared after the request was published; reply_to all from an exclusive one
# named by the broker, in the properties reply_to and correlation_id. A
# "!METHOD" is a notification and waits for nothing. With a count, all requests
# are sent before the first response is waited for. QUEUE is declared plain
# unless passive asks for one that is there, whatever its attributes.

require 'bunny'
require 'json'
require 'optparse'
require 'timeout'
require_relative 'request'

options = ARGV.getopts('', 'timeout:10', 'count:1', 'passive')
timeout = Float(options['timeout'])
url, queue, style, *message = ARGV
requests = Array.new(Integer(options['count'])) { new_request(*message) }
asked = requests.filter_map { |request| request[:id] }

connection = Bunny.new(url.chomp('/')).start # a bare / would mean the vhost ""
at_exit { connection.close }
channel = connection.create_channel
channel.queue(queue, passive: options['passive'])

responses = Queue.new
if style == 'reply_to' && asked.any?
  replies = channel.queue('', exclusive: true)
  replies.subscribe { |_, reply, text| responses << text if asked.include?(reply.correlation_id) }
end

answer = ->(id) { channel.queue(id, auto_delete: true).subscribe { |_, _, text| responses << text } }

requests.each do |request|
  id = request[:id]
  properties = { routing_key: queue }
  if id && style == 'id'
    answer.call(id)
  elsif id && style == 'late'
    properties.update(reply_to: id)
  elsif id
    properties.update(reply_to: replies.name, correlation_id: id)
  end
  channel.default_exchange.publish(JSON.generate(request), properties)
end
asked.each(&answer) if style == 'late'

begin
  asked.each { puts Timeout.timeout(timeout) { responses.pop } }
rescue Timeout::Error
  abort "no response within #{timeout} s"
end
