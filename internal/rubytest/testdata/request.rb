# frozen_string_literal: true

require 'json'
require 'securerandom'

# Makes a request with an id of its own, a notification for a "!method". The metadata
# is an object, as JSON.
def new_request(method, params, meta = nil)
  request = { jsonrpc: '2.0', method: method.delete_prefix('!'), params: JSON.parse(params) }
  request[:meta] = JSON.parse(meta) if meta
  request[:id] = SecureRandom.hex(8) unless method.start_with?('!')
  request
end
