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

  # Returns the message that a text holds: a request, or a batch, which is an array of requests. Each
  # request is an object, if perhaps one that answer refuses.
  def read(text)
    message = JSON.parse(text.dup.force_encoding('UTF-8').scrub)
    batch = message.is_a?(Array) && !message.empty?
    batch ? message.map { |item| as_request(item) } : as_request(message)
  rescue JSON::ParserError
    UNREADABLE
  end

  def as_request(value)
    value.is_a?(Hash) ? value : {}
  end

  # Returns the requests of a message: one, or those of a batch.
  def requests(message)
    [message].flatten(1)
  end

  # Returns the first string id in a message.
  def string_id(message)
    address(*requests(message).map { |request| request['id'] })
  end

  # Returns the first that may name a reply list or queue: a string of 1 to 255 bytes.
  def address(*names)
    names.find { |name| name.is_a?(String) && name.bytesize.between?(1, 255) }
  end

  def wants_answer?(message)
    !requests(message).all? { |request| notification?(request) }
  end

  # A request without an id is a notification. An id of null is an id.
  def notification?(request)
    valid?(request) && !request.key?('id')
  end

  def valid?(request)
    request['jsonrpc'] == '2.0' && request['method'].is_a?(String)
  end

  # Runs a message and returns the text of the answer: nil if it wants none, not even if it fails.
  def answer(message)
    texts = requests(message).filter_map { |request| respond(request) }
    return texts.first unless message.is_a?(Array)

    "[#{texts.join(',')}]" unless texts.empty?
  end

  def respond(request)
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
