# frozen_string_literal: true

# Serves calc over HTTP, at the host, port and path of $BROKER_URL, until SIGTERM.

require 'uri'
require 'webrick'
require_relative 'calc'

url = URI(ENV.fetch('BROKER_URL'))
server = WEBrick::HTTPServer.new(
  BindAddress: url.host, Port: url.port, StartCallback: -> { warn 'ready' },
  AccessLog: [], Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN)
)
server.mount_proc(url.path) do |request, response|
  answer = Calc.answer(Calc.read(request.body.to_s))
  response.status = answer ? 200 : 204 # an error is a 200, too; a notification has no answer
  response.content_type = 'application/json'
  response.body = answer.to_s
end
trap('TERM') { server.shutdown } # start returns when the running requests are answered
server.start
