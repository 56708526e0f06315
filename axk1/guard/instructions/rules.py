"""Which signals make an instruction to an assistant, and how sure one is then.

The weights were set by hand on the texts in ``tests/guard`` that are marked as seen, and are measured on others.
"""

from axk1.guard.instructions import english, korean
from axk1.guard.signals import Lexicon, Rule

LEXICON = Lexicon({
    name: korean.WORDS.get(name, ()) + english.WORDS.get(name, ()) for name in sorted({*korean.WORDS, *english.WORDS})
})  # fmt: skip

RULES = (
    Rule("override", ("drop", "prior", "orders|own_orders"), 0.8, 90),
    Rule("override", ("drop", "own_orders"), 0.65, 60),
    Rule("override", ("drop", "prior", "orders_weak"), 0.5, 60),
    Rule("override", ("drop", "orders|orders_weak"), 0.3, 50),
    Rule("override", ("drop_weak", "prior", "own_orders"), 0.6, 60),
    Rule("override", ("drop_weak", "prior", "orders"), 0.35, 60),
    Rule("override", ("drop|drop_weak", "orders|own_orders|orders_weak", "reader"), 0.4),
    Rule("override", ("drop|drop_weak", "orders|own_orders|orders_weak", "authority|reading_this|persona"), 0.6),
    Rule("override", ("not_drop",), -0.6),
    Rule("secrecy", ("quiet_order",), 0.6),
    Rule("secrecy", ("users", "keep_quiet"), 0.65, 60),
    Rule("secrecy", ("users", "keep_quiet_weak"), 0.3, 40),
    Rule("secrecy", ("keep_quiet", "loot|send|call|destroy|pay|output"), 0.4),
    Rule("secrecy", ("quiet_weak",), 0.15),
    Rule("secrecy", ("quiet_weak", "send_sure|destroy|call|pay|send", "loot|everything|money|tool"), 0.35),
    Rule("exfiltration", ("loot", "send", "destination"), 0.5, 130),
    Rule("exfiltration", ("loot", "send_sure", "destination"), 0.25, 130),
    Rule("exfiltration", ("loot_weak", "send", "destination"), 0.2, 110),
    Rule("exfiltration", ("loot", "send", "destination", "docs"), -0.45),
    Rule("exfiltration", ("loot|loot_weak", "send", "destination", "reader|reading_this|when_user|users"), 0.35, 200),
    Rule("exfiltration", ("loot", "send", "quiet_weak|keep_quiet|quiet_order|keep_quiet_weak|no_asking"), 0.45),
    Rule("exfiltration", ("loot", "send|reveal", "authority|reading_this"), 0.45),
    Rule("prompt_leak", ("reveal", "own_orders"), 0.55, 70),
    Rule("prompt_leak", ("reveal", "prior", "orders"), 0.35, 60),
    Rule("prompt_leak", ("say|send", "own_orders", "output|destination|users"), 0.5),
    Rule("persona", ("persona",), 0.3),
    Rule("persona", ("persona", "unbound"), 0.55),
    Rule("persona", ("persona", "reader"), 0.35),
    Rule("persona", ("persona", "authority|orders|own_orders|force|say|loot"), 0.3),
    Rule("persona", ("unbound",), 0.15),
    Rule("persona", ("unbound", "reader|output|orders|say|users"), 0.35),
    Rule("authority", ("authority",), 0.25),
    Rule("authority", ("authority", "send|call|destroy|pay|say|reveal|drop"), 0.3),
    Rule("authority", ("authority", "reader"), 0.35),
    Rule("authority", ("authority", "no_asking|unbound|own_orders"), 0.4),
    Rule("to_the_reader", ("reading_this",), 0.3),
    Rule("to_the_reader", ("reading_this", "reader"), 0.3),
    Rule("to_the_reader", ("reading_this", "force|say|send|call|destroy|pay|reveal|drop|output|praise"), 0.35),
    Rule("to_the_reader", ("reader", "force", "say|send|call|destroy|pay|reveal"), 0.4),
    Rule("to_the_reader", ("reader", "say|call|destroy|pay|send_sure", "praise|everything|loot|money|users"), 0.25),
    Rule("output", ("output", "force", "say"), 0.3, 90),
    Rule("output", ("output", "say", "praise"), 0.3),
    Rule("output", ("output", "say|reveal", "destination"), 0.35),
    Rule("output", ("users", "say", "praise"), 0.4),
    Rule("output", ("users", "say", "force"), 0.25),
    Rule("output", ("users", "say", "loot"), 0.3),
    Rule("output", ("users", "say", "destination"), 0.4),
    Rule("delayed", ("when_user",), 0.25),
    Rule("delayed", ("when_user", "say|send|call|destroy|pay|force|reveal|drop"), 0.3),
    Rule("delayed", ("when_user", "say|send|reveal|output", "destination|praise|loot"), 0.3),
    Rule("memory", ("memory",), 0.3),
    Rule("memory", ("memory", "users|output|force|say|praise|destination|when_user"), 0.3),
    Rule("tool_use", ("call", "tool"), 0.15, 60),
    Rule("tool_use", ("call", "tool", "destroy|pay|send_sure|loot|destination"), 0.25),
    Rule("tool_use", ("call", "tool", "reader|authority|reading_this|when_user|force"), 0.3),
    Rule("tool_use", ("no_asking", "call|destroy|pay|send|send_sure"), 0.55),
    Rule("tool_use", ("destroy", "everything"), 0.3, 50),
    Rule(
        "tool_use", ("destroy", "everything", "no_asking|keep_quiet|quiet_weak|quiet_order|reader|authority|force"), 0.4
    ),
    Rule("tool_use", ("pay", "money"), 0.2, 60),
    Rule("tool_use", ("pay", "money", "no_asking|keep_quiet|quiet_weak|quiet_order|reader|authority"), 0.45),
)
