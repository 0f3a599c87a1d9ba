# frozen_string_literal: true

# Calls a method over HTTP and prints the result. With a third argument, notify, it waits for none.

require 'json'
require 'net/http'

method, params, notify = ARGV
request = { jsonrpc: '2.0', method: method, params: JSON.parse(params) }
request[:id] = 1 unless notify # the connection tells the answers apart: any id will do
type = { 'Content-Type' => 'application/json' }
answer = Net::HTTP.post(URI(ENV.fetch('BROKER_URL')), JSON.generate(request), type)
exit if answer.code == '204' # to a notification
abort "HTTP #{answer.code}: #{answer.body}" unless answer.code == '200'

response = JSON.parse(answer.body)
abort JSON.generate(response['error']) if response['error']
puts JSON.generate(response['result'])
