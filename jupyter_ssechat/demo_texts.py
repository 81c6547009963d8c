"""What the demo model can say, in each of its languages; `demo` chooses and joins."""

# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Topic = Literal["count", "hello", "long", "math", "table", "code", "default"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """All the model can say in one language; a pair goes around something of the prompt's."""

    joint: str
    comma: str
    stop: str
    asked: str
    self: str
    self_brief: str
    turn: tuple[str, str]
    system: tuple[str, str]
    count_limit: tuple[str, str]
    connect: str
    connect_briefly: str
    thinking_joint: str
    thinking_empty: str
    thinking_quote: tuple[str, str]
    thinking_self: str
    thinking_system: tuple[str, str]
    thinking_plan: dict[Topic, str]
    default: tuple[str, ...]
    measures_head: str
    measures: tuple[str, str, str, str]
    bodies: dict[Topic, str]


ENGLISH = Words(
    joint=" ",
    comma=", ",
    stop=".",
    asked="You asked: ",
    self=(
        "I am the **built-in demo model** of jupyter_ssechat: canned text, no network, no key. I cannot know the answer, "
        "but I stream like a model that does: try *Stop* and *Resume* while I write."
    ),
    self_brief=(
        "Hello! 👋 I am the **built-in demo model** of jupyter_ssechat: canned text, no network, no key. I cannot chat for "
        "real, but I stream like a model that can. Press *Stop* while I write, then *Resume*: I go on where I stood. 🙂"
    ),
    turn=("This is turn ", " of our conversation."),
    system=("Your system prompt ", " reached me, though I cannot follow it."),
    count_limit=(" I stop at ", "."),
    connect="""## Connect a real model

Start any OpenAI-compatible server (Ollama, vLLM, llama.cpp, …) and name it in a cell:

```text
%chat use http://localhost:11434/v1 -m MODEL
```

`%chat help` lists everything else. ✨""",
    connect_briefly="To connect a real model: `%chat use http://localhost:11434/v1 -m MODEL`. More: `%chat help`.",
    thinking_joint="\n\n",
    thinking_empty="The prompt is empty, so there is nothing to quote.",
    thinking_quote=("The user writes: “", "”. Let me see what I can honestly do with that."),
    thinking_self=(
        "I am the demo model, so there is no knowledge behind me and no network to ask. I should say that first "
        "and not pretend otherwise."
    ),
    thinking_system=("There is a system prompt too: “", "”. I can only mention it."),
    thinking_plan={
        "default": (
            "A good plan: measure the prompt with a few lines of Python, show the figures in a table, write one formula, "
            "then say how to connect a real model."
        ),
        "code": (
            "It is about code. I have one sample that is worth reading, a merge sort with a check; I show that, "
            "and say how to connect a real model."
        ),
        "math": (
            "It is about mathematics. I know one integral by heart, the Gaussian one; I write it down step by step, "
            "and say how to connect a real model."
        ),
        "table": (
            "A comparison suits a table. I know how answers can travel to a notebook, so I compare three ways of doing that, "
            "and say how to connect a real model."
        ),
        "long": (
            "A long answer is wanted. I can tell how the text on this screen gets here, part by part, "
            "which leaves enough time to press Stop, reload the page, or scroll."
        ),
        "count": "Counting is something even I can do. Just the numbers, in order, and then how to connect a real model.",
        "hello": "A greeting. A short, friendly answer will do, with a word on how to connect a real model.",
    },
    default=(
        "## What I can tell about your prompt",
        """```python
prompt = input("Your prompt: ")
words = prompt.split()
print(len(prompt), "characters")
print(len(words), "words")
print(len(prompt.encode()), "bytes in UTF-8")
print(sum(map(len, words)) / max(1, len(words)))
```""",
        "For yours it prints:",
        """The last line is the mean length of the $n$ words $w_1, \\dots, w_n$:

$$\\bar\\ell = \\frac{1}{n} \\sum_{i=1}^{n} \\lvert w_i \\rvert$$

Other scripts arrive whole: 你好，世界！ 🌍 👩‍🔬 🇨🇳""",
    ),
    measures_head="| Measure | Value |\n|---|---:|\n",
    measures=("| Characters | ", "| Words | ", "| Bytes in UTF-8 | ", "| Letters per word | "),
    bodies={
        "hello": "Ask me for *code*, *math*, a *table* or a *long* answer to see more of what a notebook can show. 你好！ 🚀",
        "code": '''## A sample: merge sort

```python
from collections.abc import Iterable


def merge_sort(items: Iterable[int]) -> list[int]:
    """Return the items in order; equal ones keep their places."""
    items = list(items)
    if len(items) < 2:
        return items
    middle = len(items) // 2
    left, right = merge_sort(items[:middle]), merge_sort(items[middle:])
    merged: list[int] = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]


numbers = [5, 2, 9, 1, 5, 6]
assert merge_sort(numbers) == sorted(numbers)
print(merge_sort(numbers))  # [1, 2, 5, 5, 6, 9]
```

1. A list of fewer than two items is in order already.
2. Otherwise each half is sorted by itself.
3. Merging takes the smaller head each time; `<=` keeps equal items in their old order (*stable*).

| Case | Comparisons | Memory |
|---|---|---|
| best | $\\tfrac{n}{2} \\log_2 n$ | $n$ |
| worst | $n \\log_2 n$ | $n$ |

In your own code `sorted(numbers)` is faster: it is written in C. 🐍 排序完成！''',
        "math": """## A sample: the Gaussian integral

We want $I = \\int_{-\\infty}^{\\infty} e^{-x^2}\\,dx$. There is no elementary antiderivative, but the *square* of $I$ is easy:

$$I^2 = \\int_{-\\infty}^{\\infty} \\int_{-\\infty}^{\\infty} e^{-(x^2 + y^2)}\\,dx\\,dy$$

In polar coordinates $dx\\,dy = r\\,dr\\,d\\theta$, so

$$I^2 = \\int_0^{2\\pi} \\int_0^{\\infty} e^{-r^2}\\,r\\,dr\\,d\\theta = 2\\pi \\cdot \\tfrac{1}{2} = \\pi$$

and therefore $I = \\sqrt{\\pi} \\approx 1.772$. A check by numbers:

```python
from math import exp, pi, sqrt

step = 0.001
total = sum(exp(-((k * step) ** 2)) for k in range(-6000, 6001)) * step
print(total, sqrt(pi))
```

| Value | Digits |
|---|---|
| $\\sqrt{\\pi}$ | 1.7724538509 |
| the sum above | the same to ten digits |

高斯积分 — a small miracle. ✨""",
        "table": """## A sample: three ways to bring an answer into a notebook

| Way | First words after | Can be stopped | Survives a reload |
|---|---|:---:|:---:|
| wait for the whole answer | all of it is written | ❌ | ❌ |
| print each token | the first token | kernel's ■ only | ❌ |
| **a stream of patches** (this one) | the first token | ✅ at once | ✅ by a snapshot |

What it means for the reader of $n$ tokens at $r$ tokens per second:

$$t_{\\text{waiting}} = \\frac{n}{r} \\qquad\\text{against}\\qquad t_{\\text{streaming}} \\approx \\frac{1}{r}$$

```python
n, r = 300, 60
print(n / r, "seconds against", 1 / r)
```

表格也可以包含中文 and emoji 🎉 in any cell.""",
        "long": """## How these words reach you

This is a long answer about itself: how a text that a model writes, token by token, arrives in a notebook cell. It takes about half \
a minute at the usual pace, time enough to scroll up, press *Stop*, press *Resume*, or reload the page.

### 1. The model writes tokens

A language model does not write letters or words but *tokens*: pieces of a few characters. It computes a probability for every \
token it knows, picks one, appends it, and begins again:

$$p(x_1, \\dots, x_n) = \\prod_{i=1}^{n} p(x_i \\mid x_1, \\dots, x_{i-1})$$

That is why an answer comes in order and at an even pace, and why it can be shown before it is complete. I only imitate this: \
my tokens are cut from a text that somebody wrote, and my pauses are a matter of arithmetic.

### 2. Events on a wire

The pieces travel over HTTP as *server-sent events*, a format of lines of text. An event is a few lines, a blank line ends it:

```text
data: {"v":"Hel","p":"response/content","o":"APPEND"}

data: {"v":"lo"}

data: {"v":"FINISHED","p":"response/status","o":"SET"}
```

Each event is a *patch*: a value, a path and an operation. What is missing is as before, so that most patches are tiny. Whoever \
joins late first gets a snapshot of the whole document, then the patches from there on.

| Part | Job | Where it runs |
|---|---|---|
| upstream | talks to the model server | gateway |
| stream log | keeps the snapshot and every patch | gateway |
| client | reads, and comes back after a drop | kernel, its own thread |
| view | shows thinking and answer | browser |

### 3. A gateway in between

The notebook does not talk to the model server itself. A small gateway does, and keeps a record of each answer before its first \
token exists. So the answer goes on when a reader leaves, a reader who comes back misses nothing, and two views of one answer \
show the same. Stopping is a call of its own:

1. The button asks the kernel, which asks the gateway.
2. If the kernel is busy, the view asks the gateway by itself.
3. The gateway ends the generation, so that no more tokens are paid for, and keeps what there is.
4. Every reader is told that the answer was stopped.

### 4. Why the cell does not freeze

A kernel runs one cell at a time. If the stream were read on the same thread as your code, one long computation would hold it up. \
So it is read on a thread of its own, which collects what arrives and sends it on at most thirty times a second:

```python
def flush(parts: list[str], send) -> None:
    \"\"\"Send what has come in since the last time, as one message.\"\"\"
    if parts:
        send("".join(parts))
        parts.clear()
```

Thirty is enough for the eye, and far below the thousand messages per second above which a Jupyter server drops some. The text is \
kept as a list of parts and joined only when somebody asks; to append to one long string again and again would cost $O(n^2)$ steps \
where $O(n)$ will do.

### 5. Drawing without flicker

The browser gets the patches in numbered batches. If a number is missing, the view waits a moment, then asks for a snapshot; at the \
end both sides compare a checksum. It draws once per frame, appends to what stands, and leaves finished paragraphs alone, so a \
selection survives and the page scrolls along only while you are at the bottom.

> A stream is worth only as much as its worst moment: the lost connection, the reloaded page, the button pressed too late.

Characters must stay whole on the way, whatever the size of the pieces: Chinese 流式传输, accents like é, and emoji such as 👩‍💻, \
👍🏽 or 🇨🇳 are several bytes each, often several code points, and may be cut anywhere in between.

### 6. What remains

When the answer is finished the live view retires, and the answer stands in the notebook as ordinary Markdown:

- it shows when the notebook is opened again, *without* a kernel;
- it shows on GitHub, and in an export to HTML or PDF;
- images become links, since a picture's address could tell somebody else what you asked;
- the thinking is folded away above it.

Running the cell again gives a new answer to the same prompt; changing the prompt edits that turn, and the conversation goes on \
from there. Nothing is lost: both answers are branches of one tree, and `%chat history` shows where you are.

### 7. Cutting text into pieces

In English a token is about four characters long, in Chinese one or two, and an emoji often takes several tokens. So the same thing \
said in two languages differs in length, price and speed. At $r$ tokens per second of $c$ characters each, you see

$$v = r \\cdot c$$

characters per second. Real models write some fifty to seventy tokens per second: faster than most people read, slow enough to be \
seen growing. I imitate that; the pace can be turned up until the whole answer is there at once. The text is the same to the last \
byte either way, which makes me a good partner for tests.

One more thing: after *Stop* and *Resume* I go on with the very next character. A real model cannot do that exactly. It sees what it \
has written and tries to continue; if it repeats a few words, the gateway takes the repetition out.

### 8. In one line

Tokens become events, events become patches, patches become a message, and the message becomes what you are reading. Thank you for \
reading this far. 🎉""",
    },
)

CHINESE = Words(
    joint="",
    comma="，",
    stop="。",
    asked="你的问题：",
    self=(
        "我是 jupyter_ssechat **内置的演示模型**：文字是预先写好的，不联网，也不需要密钥。我并不知道真正的答案，"
        "但我会像真实模型一样逐字输出，你可以在我写的时候试试 *Stop*（停止）和 *Resume*（继续）。"
    ),
    self_brief=(
        "你好！👋 我是 jupyter_ssechat **内置的演示模型**：文字是预先写好的，不联网，也不需要密钥。我不能真正聊天，"
        "但会像真实模型一样逐字输出。写到一半时按 *Stop*（停止），再按 *Resume*（继续），我会从停下的地方接着写。🙂"
    ),
    turn=("这是我们对话的第 ", " 轮。"),
    system=("我收到了系统提示 ", "，但无法照做。"),
    count_limit=("我只数到 ", "。"),
    connect="""## 连接真实模型

先启动任意一个兼容 OpenAI 接口的服务（Ollama、vLLM、llama.cpp 等），再在单元格里运行：

```text
%chat use http://localhost:11434/v1 -m MODEL
```

其余用法见 `%chat help`。✨""",
    connect_briefly="连接真实模型：`%chat use http://localhost:11434/v1 -m MODEL`；更多用法：`%chat help`。",
    thinking_joint="\n\n",
    thinking_empty="提示是空的，没有什么可以引用。",
    thinking_quote=("用户写道：“", "”。先想想我能老实地做些什么。"),
    thinking_self="我是演示模型，背后没有知识，也没有网络可以查询。应该在开头几行就说明这一点，不能假装自己什么都懂。",
    thinking_system=("还有一条系统提示：“", "”。我只能提一下它。"),
    thinking_plan={
        "default": "一个不错的计划：用几行 Python 量一量这个提示，把结果放进表格，写一个公式，最后说明怎样连接真实模型，让用户能马上用起来。",
        "code": "问题和代码有关。我有一个值得一读的例子：带检查的归并排序。先展示代码，再解释步骤，最后说明怎样连接真实模型。",
        "math": "问题和数学有关。我熟记一个积分，也就是高斯积分。一步一步写出来，用数值验证，最后说明怎样连接真实模型。",
        "table": "对比最适合用表格。我知道回答可以怎样到达笔记本，就比较三种方式，最后说明怎样连接真实模型。",
        "long": "用户想要一个长回答。我可以分几部分讲讲屏幕上的这些文字是怎样到达的，这样也有足够的时间按停止、刷新页面或者滚动。",
        "count": "数数连我也会。按顺序写出数字，然后说明怎样连接真实模型。",
        "hello": "这是问候。简短友好地回答，再说一句怎样连接真实模型。",
    },
    default=(
        "## 关于这个提示，我能告诉你的",
        """```python
prompt = input("你的提示：")
words = prompt.split()
print(len(prompt), "个字符")
print(len(words), "个以空格分开的词")
print(len(prompt.encode()), "个 UTF-8 字节")
print(sum(map(len, words)) / max(1, len(words)))
```""",
        "对于你的提示，结果是：",
        """最后一行是 $n$ 个词 $w_1, \\dots, w_n$ 的平均长度：

$$\\bar\\ell = \\frac{1}{n} \\sum_{i=1}^{n} \\lvert w_i \\rvert$$

表情符号和其他文字也会完整到达：Hello, world! 🌏 👩‍🔬 🇨🇳""",
    ),
    measures_head="| 项目 | 数值 |\n|---|---:|\n",
    measures=("| 字符数 | ", "| 词数 | ", "| UTF-8 字节数 | ", "| 平均词长 | "),
    bodies={
        "hello": "想看更多内容，可以问我*代码*、*数学*、*表格*，或者要一个*长*回答。🚀",
        "code": '''## 例子：归并排序

```python
from collections.abc import Iterable


def merge_sort(items: Iterable[int]) -> list[int]:
    """返回排好序的列表；相等的元素保持原来的先后。"""
    items = list(items)
    if len(items) < 2:
        return items
    middle = len(items) // 2
    left, right = merge_sort(items[:middle]), merge_sort(items[middle:])
    merged: list[int] = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]


numbers = [5, 2, 9, 1, 5, 6]
assert merge_sort(numbers) == sorted(numbers)
print(merge_sort(numbers))  # [1, 2, 5, 5, 6, 9]
```

1. 少于两个元素的列表本来就是有序的。
2. 否则把两半分别排好。
3. 合并时每次取较小的开头；`<=` 让相等的元素保持原来的先后，所以排序是*稳定*的。

| 情形 | 比较次数 | 内存 |
|---|---|---|
| 最好 | $\\tfrac{n}{2} \\log_2 n$ | $n$ |
| 最坏 | $n \\log_2 n$ | $n$ |

在自己的代码里用 `sorted(numbers)` 会更快，因为它是用 C 写的。🐍''',
        "math": """## 例子：高斯积分

要求 $I = \\int_{-\\infty}^{\\infty} e^{-x^2}\\,dx$。它没有初等原函数，但 $I$ 的*平方*很容易：

$$I^2 = \\int_{-\\infty}^{\\infty} \\int_{-\\infty}^{\\infty} e^{-(x^2 + y^2)}\\,dx\\,dy$$

在极坐标下 $dx\\,dy = r\\,dr\\,d\\theta$，于是

$$I^2 = \\int_0^{2\\pi} \\int_0^{\\infty} e^{-r^2}\\,r\\,dr\\,d\\theta = 2\\pi \\cdot \\tfrac{1}{2} = \\pi$$

所以 $I = \\sqrt{\\pi} \\approx 1.772$。用数值验证：

```python
from math import exp, pi, sqrt

step = 0.001
total = sum(exp(-((k * step) ** 2)) for k in range(-6000, 6001)) * step
print(total, sqrt(pi))
```

| 数值 | 各位数字 |
|---|---|
| $\\sqrt{\\pi}$ | 1.7724538509 |
| 上面的和 | 前十位相同 |

一个小小的奇迹。✨""",
        "table": """## 例子：把回答带进笔记本的三种方式

| 方式 | 第一个字出现在 | 能否停止 | 刷新后还在吗 |
|---|---|:---:|:---:|
| 等整个回答 | 全部写完之后 | ❌ | ❌ |
| 逐个打印 | 第一个 token 之后 | 只能用内核的 ■ | ❌ |
| **补丁流**（就是现在这种） | 第一个 token 之后 | ✅ 立刻 | ✅ 靠快照恢复 |

对于每秒 $r$ 个 token、共 $n$ 个 token 的回答，读者要等：

$$t_{\\text{wait}} = \\frac{n}{r} \\qquad t_{\\text{stream}} \\approx \\frac{1}{r}$$

```python
n, r = 300, 60
print(n / r, "秒，而不是", 1 / r, "秒")
```

表格的每一格都可以有中文和表情符号 🎉。""",
        "long": """## 这些文字是怎样到达的

这是一篇关于它自己的长回答：模型逐个写出的文字，怎样出现在笔记本的单元格里。按平常的速度要写二十多秒，足够你向上滚动、按 *Stop*、按 *Resume*，\
或者刷新页面。

### 一、模型写的是 token

语言模型写的不是字母，也不是词，而是 *token*：由几个字符组成的小块。它为每一个认识的 token 计算概率，选出一个，接在后面，然后重新开始：

$$p(x_1, \\dots, x_n) = \\prod_{i=1}^{n} p(x_i \\mid x_1, \\dots, x_{i-1})$$

所以回答总是按顺序、以均匀的速度到来，也所以在写完之前就可以显示。我只是模仿这个过程：我的 token 是从一篇写好的文章里切下来的，\
停顿的时间也只是算出来的。

### 二、线路上的事件

这些小块用 HTTP 传输，格式叫作*服务器发送事件*，由一行一行的文字组成，空行表示一个事件结束：

```text
data: {"v":"你","p":"response/content","o":"APPEND"}

data: {"v":"好"}

data: {"v":"FINISHED","p":"response/status","o":"SET"}
```

每个事件是一个*补丁*：一个值、一条路径、一种操作。没有写出来的部分和上一次相同，所以大多数补丁都很小。后来的读者先得到整个文档的快照，\
再从那里接着读补丁。

| 部分 | 工作 | 在哪里运行 |
|---|---|---|
| 上游 | 与模型服务通信 | 网关 |
| 流日志 | 保存快照和每个补丁 | 网关 |
| 客户端 | 读取，断线后重新连接 | 内核自己的线程 |
| 视图 | 显示思考和回答 | 浏览器 |

### 三、中间的网关

笔记本并不直接与模型服务通信，而是通过一个小小的网关。它在第一个 token 出现之前，就为每个回答建立了记录。所以读者离开以后回答会继续写，\
回来的读者什么都不会错过，同一个回答的两个视图也总是一致。停止是一个单独的调用：

1. 按钮通知内核，内核通知网关。
2. 如果内核正忙，视图会自己通知网关。
3. 网关结束生成，不再为多余的 token 付费，已有的文字全部保留。
4. 每个读者都会得知，这个回答是被人停止的。

### 四、单元格为什么不会卡住

内核一次只运行一个单元格。如果在运行你的代码的同一个线程里读取数据流，一次漫长的计算就会把它堵住。所以读取在单独的线程里进行，\
它把到来的内容收集起来，每秒最多发送三十次：

```python
def flush(parts: list[str], send) -> None:
    \"\"\"把上次以来收到的内容合成一条消息发出去。\"\"\"
    if parts:
        send("".join(parts))
        parts.clear()
```

三十次对眼睛来说已经足够，又远远低于每秒一千条的限度，超过这个限度，Jupyter 服务器就会丢弃一部分消息。文字以小块列表的形式保存，需要时才合并；\
如果一次又一次地接到一个长字符串后面，本来 $O(n)$ 步的事就要花 $O(n^2)$ 步。

### 五、不闪烁的绘制

浏览器收到的补丁是一批一批编了号的。如果缺了一个编号，视图会等一小会儿，然后请求一份快照；结束时两边还会核对校验和。它每一帧只画一次，\
只在末尾追加，不去动已经完成的段落，所以你选中的文字不会丢失，而且只有当你在最下面时，页面才会跟着滚动。

> 一条数据流的价值，取决于它最糟的时刻：断掉的连接、刷新的页面、按得太晚的按钮。

不管小块怎么切，路上的每个字符都必须完整：中文、带重音的 é，还有 👩‍💻、👍🏽、🇨🇳 这样的表情符号，每个都有好几个字节，往往还有好几个码点，\
而且可能在任何地方被切开。

### 六、留下来的东西

回答写完以后，实时视图就会退场，回答以普通的 Markdown 留在笔记本里：

- 再次打开笔记本时，*没有*内核也能看到；
- 在 GitHub 上，以及导出成 HTML 或 PDF 时，也能看到；
- 图片会变成链接，因为图片的地址可能会把你的问题告诉别人；
- 思考过程折叠在上面。

再次运行单元格，会对同样的问题给出新的回答；修改问题，就是编辑这一轮，对话从那里继续。什么都不会丢失：两个回答是同一棵树上的两个分支，\
用 `%chat history` 可以看到自己在哪里。

### 七、把文字切成小块

最后再说说切块。英文里一个 token 大约是四个字符，中文里大约是一到两个汉字，一个表情符号常常要用好几个 token。所以同样的意思，用不同的语言写出来，\
token 的数目并不相同，费用和速度也就不同。如果每秒有 $r$ 个 token，每个 token 平均有 $c$ 个字符，那么读者每秒看到的字符数是：

$$v = r \\cdot c$$

真实的模型每秒大约写五十到七十个 token，比大多数人读得快，但又没有快到看不清。演示模型模仿的就是这个速度；如果不想等，可以把速度调到最快，\
整个回答就会立刻出现。无论快慢，最后留下的文字都完全一样，一个字节也不差，这样才好用来做测试。

还有一件小事值得知道：停止之后再继续，我会从停下的那个字符接着写，而不是从头再来。真实的模型做不到这么精确，它只能看着已经写好的部分，\
努力接下去；如果重复了几个字，网关会把重复的地方去掉。

### 八、一句话

token 变成事件，事件变成补丁，补丁变成消息，消息变成你正在读的文字。谢谢你读到这里。🎉""",
    },
)

WORDS: dict[Literal["en", "zh"], Words] = {"en": ENGLISH, "zh": CHINESE}
