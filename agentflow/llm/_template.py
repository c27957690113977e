"""A chat template that brings a small model to call tools.

SmolLM2's own template leaves tools out without a word. This one shows them in the shape
that Qwen models were trained on, which llama.cpp reads back as tool calls, and shows
three calls as earlier turns: told only in words, a model of 135 million parameters does
not call. Once a tool has answered, the examples are left out, since they would have the
model call again instead of answering.
"""

TOOLS_TEMPLATE = r"""
{%- if messages[0].role == 'system' %}
    {%- set persona = messages[0].content %}
{%- else %}
    {%- set persona = 'You are a helpful assistant.' %}
{%- endif %}
{{- '<|im_start|>system\n' + persona }}
{%- if tools %}
    {{- '\n\n# Tools\n\nYour functions, with their signatures, are:\n<tools>' }}
    {%- for tool in tools %}
        {{- '\n' }}{{ tool | tojson }}
    {%- endfor %}
    {{- '\n</tools>\n\nTo call one, answer with its name and arguments:\n' }}
    {{- '<tool_call>\n{"name": <name>, "arguments": <object>}\n</tool_call>' }}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- if tools and messages[-1].role != 'tool' %}
    {{- '<|im_start|>user\nHow far is Rome from Oslo?<|im_end|>\n' }}
    {{- '<|im_start|>assistant\n<tool_call>\n{"name": "get_distance", ' }}
    {{- '"arguments": {"start": "Rome", "end": "Oslo"}}\n</tool_call><|im_end|>\n' }}
    {{- '<|im_start|>user\nWhat time is it in Lima?<|im_end|>\n' }}
    {{- '<|im_start|>assistant\n<tool_call>\n{"name": "get_time", ' }}
    {{- '"arguments": {"city": "Lima"}}\n</tool_call><|im_end|>\n' }}
    {{- '<|im_start|>user\nAdd 2 and 5.<|im_end|>\n' }}
    {{- '<|im_start|>assistant\n<tool_call>\n{"name": "add", ' }}
    {{- '"arguments": {"a": 2, "b": 5}}\n</tool_call><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {%- if messages[loop.index0 - 1].role != 'tool' %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- elif message.role != 'system' or not loop.first %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {{- '\n<tool_call>\n{"name": "' + call.function.name }}
            {{- '", "arguments": ' }}
            {%- if call.function.arguments is string %}
                {{- call.function.arguments }}
            {%- else %}
                {{- call.function.arguments | tojson }}
            {%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
