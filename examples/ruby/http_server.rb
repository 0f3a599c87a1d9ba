# frozen_string_literal: true

# Serves calc over HTTP, at the host, port and path of $BROKER_URL, until SIGTERM.

require 'uri'
require 'webrick'
require_relative 'calc'

URL = URI(ENV.fetch('BROKER_URL'))
URL.path = '/' if URL.path.empty?

class Endpoint < WEBrick::HTTPServlet::AbstractServlet
  def service(request, response)
    response['Allow'] = 'POST'
    return response.status = 404 unless request.request_uri.path == URL.path
    return response.status = 405 unless request.request_method == 'POST'

    answer = Calc.answer(Calc.read(request.body.to_s))
    response.status = answer ? 200 : 204 # an error is a 200, too; a notification has no answer
    response.content_type = 'application/json'
    response.body = answer.to_s
  end
end

server = WEBrick::HTTPServer.new(
  BindAddress: URL.host, Port: URL.port, StartCallback: -> { warn 'ready' },
  AccessLog: [], Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN)
)
server.mount('/', Endpoint)
trap('TERM') { server.shutdown } # start returns when the running requests are answered
server.start
