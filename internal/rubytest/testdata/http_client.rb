# frozen_string_literal: true

# Calls a service over HTTP and prints the status and, below it, the body.
#
#   http_client.rb URL METHOD PARAMS [META]
#
# It leaves the headers to Net::HTTP, which says that the body is a form. A
# "!METHOD" is a notification.

require 'json'
require 'net/http'
require_relative 'request'

url, *message = ARGV
response = Net::HTTP.post(URI(url), JSON.generate(new_request(*message)))
puts response.code, *response.body
