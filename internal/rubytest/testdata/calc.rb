# frozen_string_literal: true

require 'json'

# The example service: add and subtract, by position, on numbers, and tenant, which
# returns the number that the metadata of the call has under this name.
module Calc
  OPERATORS = { 'add' => :+, 'subtract' => :- }.freeze

  module_function

  # Takes the text of a request; returns the request ({} if it is none) and
  # the response (nil for a notification).
  def serve(text)
    request = JSON.parse(text)
    return [{}, response(nil, error(-32600, 'Invalid Request'))] unless request.is_a?(Hash)

    outcome = call(request)
    [request, request.key?('id') ? response(request['id'], outcome) : nil]
  rescue JSON::ParserError
    [{}, response(nil, error(-32700, 'Parse error'))]
  end

  def response(id, outcome)
    { id: id, **outcome, jsonrpc: '2.0' }
  end

  def call(request)
    method, params = request.values_at('method', 'params')
    return { result: request.dig('meta', 'tenant').to_f } if method == 'tenant'

    operator = OPERATORS[method]
    return error(-32601, 'Method not found') unless operator
    return error(-32602, 'Invalid params') unless two_numbers?(params)

    { result: params[0].to_f.public_send(operator, params[1]) }
  end

  def two_numbers?(params)
    params.is_a?(Array) && params.size == 2 && params.all?(Numeric)
  end

  def error(code, message)
    { error: { code: code, message: message } }
  end
end
