# frozen_string_literal: true

# Serves calc over RabbitMQ until SIGTERM.
#
#   amqp_server.rb [--passive] URL QUEUE id|reply_to
#
# The style id answers to the queue named by the request's id, reply_to to the
# one in that property. QUEUE is declared plain unless passive asks for one
# that is there, whatever its attributes.

require 'bunny'
require 'json'
require 'optparse'
require_relative 'calc'

options = ARGV.getopts('', 'passive')
url, queue, style = ARGV
connection = Bunny.new(url.chomp('/')).start # a bare / would mean the vhost ""
at_exit { connection.close }
channel = connection.create_channel

channel.queue(queue, passive: options['passive']).subscribe do |_, properties, text|
  request, response = Calc.serve(text)
  next unless response

  reply_queue = style == 'reply_to' ? properties.reply_to : request['id']
  next warn "no #{style} to answer to: #{text}" unless reply_queue.is_a?(String)

  channel.default_exchange.publish(JSON.generate(response), routing_key: reply_queue,
                                                            correlation_id: properties.correlation_id)
end

trap('TERM') { exit }
$stdout.sync = true
puts 'ready'
sleep
