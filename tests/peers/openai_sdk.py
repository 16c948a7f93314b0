"""The official OpenAI SDK for Python against a gateway: argument 1 is its base URL, argument 2 its token. Prints one line for each thing that works."""

import sys
import threading

import openai

base_url, token = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=base_url, api_key=token, max_retries=0, timeout=60)
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {"name": "weather", "description": "Tells the weather.", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def ask(text, **more):
    return client.chat.completions.create(model="verso", messages=[{"role": "user", "content": text}], **more)


def chat():
    answer = ask("hi [[tokens=3]]", temperature=0.5, max_tokens=50, seed=7, stop=["END"], user="ann")
    assert answer.choices[0].message.content == "word0 word1 word2", answer
    assert answer.choices[0].finish_reason == "stop" and answer.usage.total_tokens == 13, answer
    assert answer._request_id == answer.id, answer._request_id
    parts = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "hi [[tokens=1]]"}]}]
    assert client.chat.completions.create(model="gpt-4o", messages=parts).model == "gpt-4o"


def streaming():
    chunks = list(ask("hi [[tokens=3 gap=5]]", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "word0 word1 word2", text
    assert chunks[-1].usage.total_tokens == 13 and [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    with client.chat.completions.stream(model="verso", messages=[{"role": "user", "content": "hi [[tokens=2]]"}]) as stream:
        assert stream.get_final_completion().choices[0].message.content == "word0 word1"


def tools():
    tool = {"type": "function", "function": WEATHER}
    messages = [{"role": "user", "content": "weather? [[tool=weather tokens=2]]"}]
    answer = client.chat.completions.create(model="verso", messages=messages, tools=[tool])
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls" and call.function.name == "weather", answer
    assert call.function.arguments == '{"city":"Ulm"}', call
    messages += [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    again = client.chat.completions.create(model="verso", messages=messages, tools=[tool])
    assert again.choices[0].message.content and again.choices[0].finish_reason == "stop", again
    with client.chat.completions.stream(model="verso", messages=messages[:1], tools=[tool]) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.message.tool_calls[0].function.arguments == '{"city":"Ulm"}', streamed
    named = {"type": "function", "function": {"name": "weather"}}
    assert ask("x [[tool=weather]]", tools=[tool], tool_choice=named).choices[0].message.tool_calls
    hidden = ask("x [[tool=weather tokens=1]]", tools=[tool], tool_choice="none")
    assert hidden.choices[0].message.content == "word0", hidden
    try:
        ask("x [[tokens=1]]", tools=[tool], tool_choice="required")
        raise SystemExit("an unmet tool_choice was answered")
    except openai.InternalServerError as error:
        assert error.status_code == 502, error


def images():
    content = [{"type": "text", "text": "what is this? [[tokens=2]]"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    answer = client.chat.completions.create(model="verso", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "word0 word1", answer
    for url in ["data:image/png;base64,????", "http://127.0.0.1:1/a.png"]:
        content[1]["image_url"]["url"] = url
        try:
            client.chat.completions.create(model="verso", messages=[{"role": "user", "content": content}])
            raise SystemExit(f"{url} was taken")
        except openai.BadRequestError as error:
            assert "Invalid image_url" in str(error), error


def responses():
    answer = client.responses.create(model="verso", input="hi [[tokens=3]]", instructions="be brief")
    assert answer.output_text == "word0 word1 word2" and answer.status == "completed", answer
    assert answer.usage.total_tokens == 13, answer.usage
    follow = client.responses.create(model="verso", input="more [[tokens=1]]", previous_response_id=answer.id)
    assert follow.output_text == "word0" and follow.previous_response_id == answer.id, follow
    content = [
        {"type": "input_text", "text": "read [[tokens=2]]"},
        {"type": "input_image", "detail": "auto", "image_url": PIXEL},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="},
    ]
    assert client.responses.create(model="verso", input=[{"role": "user", "content": content}]).output_text == "word0 word1"
    tool = {"type": "function", "strict": False, **WEATHER}
    called = client.responses.create(model="verso", input="weather? [[tool=weather tokens=2]]", tools=[tool])
    call = next(item for item in called.output if item.type == "function_call")
    output = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    assert client.responses.create(model="verso", input=output, previous_response_id=called.id, tools=[tool]).output_text
    kinds = [event.type for event in client.responses.create(model="verso", input="hi [[tokens=2]]", stream=True)]
    assert kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"], kinds
    assert kinds[-4:] == ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"], kinds
    with client.responses.stream(model="verso", input="weather? [[tool=weather]]", tools=[tool]) as stream:
        final = stream.get_final_response()
    assert any(item.type == "function_call" for item in final.output), final
    for bad in [[{"type": "input_file", "filename": "a.zip", "file_data": "data:application/zip;base64,UEs="}], [{"type": "input_image", "detail": "auto", "image_url": "http://169.254.169.254/"}]]:
        try:
            client.responses.create(model="verso", input=[{"role": "user", "content": bad}])
            raise SystemExit(f"{bad} was taken")
        except openai.BadRequestError:
            pass


def models():
    names = [model.id for model in client.models.list()]
    assert names[:2] == ["openclaw", "openclaw/default"], names
    assert client.models.retrieve("openclaw/main").id == "openclaw/main"
    try:
        client.models.retrieve("openclaw/nobody")
        raise SystemExit("there is nobody")
    except openai.NotFoundError as error:
        assert "nobody" in str(error)


def embeddings():
    answer = client.embeddings.create(model="verso", input=["a", "bcd"], dimensions=3)
    assert [row.embedding for row in answer.data] == [[1.0] * 3, [3.0] * 3], answer
    assert client.embeddings.create(model="verso", input="ab", encoding_format="float").data[0].embedding == [2.0] * 4


def errors():
    for kind, call in [
        (openai.AuthenticationError, lambda: client.with_options(api_key="wrong").models.list()),
        (openai.BadRequestError, lambda: ask("x", temperature=3)),
        (openai.BadRequestError, lambda: client.chat.completions.create(model="verso/nobody", messages=[{"role": "user", "content": "x"}])),
        (openai.BadRequestError, lambda: ask("x [[status=400]]")),
        (openai.AuthenticationError, lambda: ask("x [[status=401]]")),
        (openai.NotFoundError, lambda: client.responses.retrieve("resp_1")),
    ]:
        try:
            call()
            raise SystemExit(f"expected {kind}")
        except kind as error:
            assert isinstance(error, openai.APIStatusError) and error.message, error


def timeouts():
    try:
        client.with_options(timeout=0.5).chat.completions.create(model="verso", messages=[{"role": "user", "content": "[[hang]]"}])
        raise SystemExit("nobody answers")
    except openai.APITimeoutError:
        pass


def aborts():
    stream = ask("hi [[tokens=500 gap=50]]", stream=True)
    next(iter(stream))
    stream.close()
    threads = [threading.Thread(target=lambda: ask("hi [[tokens=1]]")) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]


for work in [chat, streaming, tools, images, responses, models, embeddings, errors, timeouts, aborts]:
    work()
    print(work.__name__, flush=True)
