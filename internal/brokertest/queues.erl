%% Prints a line for each queue: its Items, separated by tabs.
Text = fun ({resource, _, _, Name}) -> Name;
           (Value) when is_binary(Value) -> Value;
           (Value) -> io_lib:format("~0p", [Value])
       end,
Line = fun (Queue) -> lists:join("\t", [Text(Value) || {_, Value} <- Queue]) end,
[io:format("~ts~n", [Line(Queue)]) || Queue <- rabbit_amqqueue:info_all(<<"/">>, Items)]
