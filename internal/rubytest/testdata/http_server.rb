# frozen_string_literal: true

# Serves calc at /calc over HTTP, on a loopback port, until SIGTERM.
#
#   http_server.rb PORT

require 'json'
require 'sinatra'
require 'webrick'
require_relative 'calc'

$stdout.sync = true
set :environment, :production
set :quiet, true
disable :logging
set :server, :webrick
set :bind, '127.0.0.1'
set :port, Integer(ARGV.fetch(0))
set :server_settings,
    AccessLog: [],
    Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN),
    StartCallback: -> { puts 'ready' }

post '/calc' do
  _, response = Calc.serve(request.body.read)
  next 204 unless response

  content_type :json
  JSON.generate(response)
end
