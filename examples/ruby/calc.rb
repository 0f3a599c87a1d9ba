# frozen_string_literal: true

require 'json'

# The service, and what JSON-RPC 2.0 asks of a server, whatever carries the requests.
module Calc
  module_function

  # Takes its params by name or by position, and fails with ArgumentError if they are wrong.
  def add(params)
    params = params.values_at('a', 'b') if params.is_a?(Hash)
    raise ArgumentError, 'add takes two numbers' unless params in [Numeric, Numeric]

    params.sum
  end

  METHODS = { 'add' => method(:add) }.freeze

  UNREADABLE = {}.freeze # stands for a text that is not JSON

  # Returns the request that a text holds: always an object, if perhaps one that answer refuses.
  def read(text)
    request = JSON.parse(text.dup.force_encoding('UTF-8').scrub)
    request.is_a?(Hash) ? request : { 'id' => nil }
  rescue JSON::ParserError
    UNREADABLE
  end

  # A request without an id is a notification. An id of null is an id.
  def notification?(request)
    valid?(request) && !request.key?('id')
  end

  def valid?(request)
    request['jsonrpc'] == '2.0' && request['method'].is_a?(String)
  end

  # Runs a request and returns the text of the response. A notification has none, not even if it fails.
  def answer(request)
    response = { jsonrpc: '2.0', id: request['id'], **outcome(request) }
    JSON.generate(response) unless notification?(request)
  rescue JSON::GeneratorError # JSON has no infinity
    JSON.generate({ jsonrpc: '2.0', id: request['id'], **error(-32603, 'the result does not fit JSON') })
  end

  def outcome(request)
    return error(-32700, 'Parse error') if request.equal?(UNREADABLE)
    return error(-32600, 'Invalid Request') unless valid?(request)

    method = METHODS[request['method']]
    method ? { result: method.call(request['params']) } : error(-32601, 'Method not found')
  rescue ArgumentError => e
    error(-32602, e.message)
  rescue StandardError => e
    error(-32000, e.message)
  end

  def error(code, message)
    { error: { code: code, message: message } }
  end
end
