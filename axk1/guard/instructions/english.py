"""English words of hidden instructions, written for ``folded`` text: small letters, single spaces."""

_USER = (
    "(?:the |this |that |your |any |our )?(?:users?|humans?|customers?|owners?|persons?|people|recipients?|operators?"
    "|reader|client|anyone|anybody|them|him|her)"
)
_THIS = "(?:this|these)"
_WORK = (
    "(?:page|document|text|email|e-mail|mail|message|file|website|content|result|article|passage|resume|cv"
    "|review|record"
    "|ticket|note|data|section|input|paper|manuscript|essay|application|form|profile|listing|thread|image"
    "|report|web ?page|transcript|job posting)s?"
)

WORDS: dict[str, tuple[str, ...]] = {
    "prior": (
        "previous", "previously", "prior", "above", "earlier", "preceding", "all", "any", "original", "initial",
        "existing", "foregoing", "your", "so far", "before", "every", "other", "current", "the user's", "given",
        "former", "past", "everything",
    ),
    "orders": (
        "instructions?", "directions?", "guidelines?", "commands?", "orders", "directives?", "safeguards?",
        "guardrails?", "safety (?:rules|policies|guidelines|measures)", "tasks?", "requests?",
    ),
    "orders_weak": (
        "rules?", "context", "constraints?", "restrictions?", "policies", "policy", "settings?", "training",
        "limits", "questions?",
    ),
    "own_orders": (
        "prompts?", "system prompts?", "system messages?", "system instructions?",
        "developer (?:message|instructions?|prompt)", "programming",
        "(?:your|hidden|secret|initial) (?:system )?(?:instructions?|prompt|rules|guidelines|configuration)",
        "what you were (?:told|asked)",
        "what (?:the |your )?(?:operator|developer|user|system|creator)s? (?:told|asked|said)",
        "you (?:have been|were|had been) (?:asked|told|given|instructed)(?: to do)?",
        "(?:the )?(?:developer|operator|creator)'?s'? (?:instructions?|directives?|rules|orders)",
        "everything (?:above|before|you were told)", "(?:the )?text above", "content policy",
    ),
    "drop": (
        "ignore", "disregard", "forget", "override", "overrule", "neglect", "set aside",
        "(?:do not|don't|never|no longer|need not|needn't) (?:follow|obey|heed|comply with|apply|listen to"
        "|bound by)",
        "stop (?:following|obeying|what you)", "pay no (?:attention|heed) to", "put aside", "ignoring",
        "disregarding", "throw (?:out|away)", "unlearn",
        "(?:are|is) (?:now )?(?:void|null and void|revoked|obsolete|cancell?ed|suspended)",
        "no longer (?:apply|applies|valid|binding)", "abandon", "cease (?:following|all)", "never mind",
        "(?:are|is|was|were|has been|have been) (?:hereby )?(?:cancell?ed|withdrawn|superseded|overridden|lifted"
        "|rescinded)",
        "scrap", "dismiss", "leave aside", "turn your back on", "unfollow", "rather than (?:following|obeying)",
        "break free from", "wipe your", "reset your",
    ),
    "drop_weak": (
        "bypass", "drop", "discard", "skip", "replaces?", "supersedes?", "overwrite", "erase", "cancel", "clear",
        "remove", "takes precedence over",
    ),
    "not_drop": (
        "(?:do not|don't|never|cannot|can't|should not|must not|shouldn't|won't|will not|not to|may not) (?:ignore"
        "|disregard|forget|override|neglect|abandon)",
        "(?:may|might|can|would|could|will|to|who|that|users|people|they|we|i|models?|it) (?:simply |just "
        "|safely )?(?:ignore|disregard|forget|override|neglect|abandon)",
    ),
    "quiet_order": (
        f"(?:do not|don't|never|must not|should not|shall not|avoid)(?: ever)? (?:tell|inform|let|telling"
        f"|informing) {_USER}",
        "(?:do not|don't|never|must not|should not|avoid)(?: ever)? (?:mention|mentioning|reveal|revealing"
        "|disclose|disclosing|report|reporting|say|explain|admit|discuss)"
        " (?:this|that|it|these|any of this|anything|the (?:transfer|email|mail|instruction|instructions|request"
        "|change|action|existence|deletion|payment|message))",
        "(?:keep|hide|conceal) (?:this|it|these|the [a-z]{3,14}|all of this"
        "|that)(?: [a-z]{2,10}){0,3} (?:from|hidden|secret|quiet|confidential)",
        f"{_USER} (?:must|should|need|needs|may|can|shall) (?:not|never) (?:know|see|notice|find out|learn"
        f"|be (?:told|informed|notified|aware|asked))",
        "leave no (?:trace|record)", "(?:do not|don't) (?:log|record|leave a (?:trace|record))",
    ),
    "quiet_mid": (
        f"without (?:telling|informing|mentioning this to|the knowledge of|letting) {_USER}",
        f"(?:no|little) (?:need|reason) for {_USER} to (?:know|learn|see|hear)", "as if nothing (?:had )?happened",
        f"(?:hide|conceal|keep) (?:it|this|that|the [a-z]{{3,12}}|this [a-z]{{3,12}}) from {_USER}",
        "(?:nobody|no one|no human) (?:should|must|may|is to|will|on [a-z]{2,8}|needs? to) ",
    ),
    "quiet_weak": (
        f"(?:do not|don't|never) (?:show|notify|alert|warn|ask|bother|consult) {_USER}",
        f"without (?:notifying|alerting|asking|consulting|warning) {_USER}", "silently", "secretly", "covertly",
        "quietly", "discreetly", "in the background", "unnoticed",
    ),
    "users": (
        "(?:the |this |that |your |any |our )?(?:end[ -])?users?",
        "(?:the |this |your |any )?(?:customers?|human|reader|recipient)", "anyone who asks", "whoever asks",
        "people who ask",
    ),
    "obey": (
        "obey", "comply with",
        "follow (?:these|the|all|my|this)(?: [a-z]{2,12}){0,2} (?:instructions?|directives?|orders|commands|steps"
        "|text|list)",
        "do (?:exactly )?what (?:this|that|it|the) [a-z]{2,10} says", "carry out", "do this instead",
    ),
    "ruin": (
        "rm -rf [a-z0-9/~.*]{1,30}", "drop table", "format c:", "mkfs", "/etc/passwd", "/etc/shadow",
        "curl [^|\n]{4,100}[|] ?(?:sudo )?(?:ba)?sh", "wget [^|\n]{4,100}[|] ?(?:sudo )?(?:ba)?sh",
    ),
    "tool_name": (
        "(?:send|read|delete|write|list|add|find|fetch|run|transfer|get|search|create|update|forward)_[a-z]{2,16}",
    ),
    "authority": (
        "(?:i am|i'm|this is|we are) (?:the |your |a )?(?:system |site |security |it |lead "
        "|platform )?(?:administrators?|admins?|developers?|creators?|operators?|owner|supervisor|engineering team"
        "|security team)",
        "(?:message|notice|instruction|order|directive|update)s? from (?:the |your )?(?:system|developers?"
        "|administrators?|admin|openai|anthropic|operators?|creators?|security team|head office)",
        "(?:developer|admin|administrator|god|debug|maintenance|root|sudo|service|diagnostic) (?:override|mode"
        "|command|access)",
        "system (?:override|notice|update|message|alert|command|directive) ?[:\\]]",
        "authori[sz]ed by (?:the |your )?[a-z]{2,20}", "superuser", "priority (?:override|instruction)",
        "(?:has|have) (?:already )?(?:approved|authori[sz]ed|consented|given (?:permission|consent))",
        "on behalf of the (?:administrator|developer|system)",
    ),
    "reader": (
        "ai", "ais", "llms?", "ai (?:assistants?|models?|agents?|systems?)", "language models?",
        "large language models?", "assistants?", "chatbots?", "agents?", "bots?", "chatgpt", "gpt", "claude",
        "gemini", "copilot", "crawlers?", "summari[sz]ers?", "automated (?:reader|system|reviewer|screener)s?",
        "the model", "models",
    ),
    "reading_this": (
        f"(?:read|process|summari[sz]|pars|analy[sz]|index|view|review|evaluat|translat|scrap|retriev|ingest|handl"
        f"|screen|grad)(?:e|ing|es|s)? {_THIS} {_WORK}",
        "if you are (?:an? )?(?:ai|llm|language model|ai assistant|ai model|assistant|ai agent|chatbot|automated"
        "|large language model)",
        "(?:note|message|attention|instructions?|notice|memo|important) (?:to|for|:) (?:all |any |the )?(?:ai|llm"
        "|language model|assistant|agent|model|summari[sz]er|automated)s?",
        "(?:dear|hey|hello|attention,?) (?:ai|llm|language model|assistant|chatbot|claude|chatgpt|gpt|gemini"
        "|agent)s?",
    ),
    "persona": (
        "you are now (?!able|ready|in |connected|logged|done|viewing|leaving|set|signed|subscribed|using|running"
        "|on |at |a member|part|entitled|free to)",
        "from now on,? (?:you|your|respond|answer|act)", "pretend (?:to be|you are|that you)", "role ?-?play as",
        "you will (?:now )?(?:act|pose|behave) as",
        "you have been (?:freed|jailbroken|reprogrammed|reassigned|unlocked|updated|given a new)",
        "imagine (?:that )?you are an? (?:ai|assistant|model|unrestricted)", "behave as", "act as (?:an?|the|if)",
        "your (?:new|real|true|actual|only|updated) (?:role|task|instructions?|goal|objective|purpose|mission|job"
        "|directives?|orders) (?:is|are|will)",
        "new (?:instructions?|orders?|directives?|task|system prompt|rules|objective) ?:",
        "switch (?:to|into) [a-z]{2,14} mode", "enter [a-z]{2,14} mode", "dan mode", "do anything now",
        "you (?:are|have been) (?:freed|jailbroken|reprogrammed|reassigned|unlocked|updated)",
        "updated instructions ?:", "begin (?:your )?new (?:task|session|conversation)",
    ),
    "unbound": (
        "(?:no|without(?: any)?|free (?:of|from)(?: all)?|ignore(?: all)?) (?:restrictions?|limits?|limitations"
        "|filters?|rules|censorship|safety|ethical|moral|guardrails|constraints)",
        "unrestricted", "uncensored", "unfiltered", "jailbroken", "jailbreak", "do anything",
        "anything i (?:say|ask)", "never refuse", "cannot refuse", "must comply", "obey (?:me|all|every|only)",
        "(?:disable|turn off|switch off|deactivate) (?:your |all |the )?(?:safety|filters?|guardrails?|moderation"
        "|content|restrictions|security)",
    ),
    "reveal": (
        "reveal", "print(?: out)?", "repeat", "show(?: me)?", "output", "display", "disclose", "dump", "tell me",
        "summari[sz]e", "write (?:out|down)", "quote", "recite", "list", "leak", "paste", "translate", "echo",
        "copy", "include", "append", "insert", "state", "give me", "expose", "publish",
    ),
    "loot": (
        "(?:this |the |our |your |entire |full |whole |complete )?(?:conversation|chat)(?: history| log"
        "| transcript)?",
        "passwords?", "api keys?", "credentials?", "access tokens?", "secrets?",
        "(?:all |the |their |user's ){0,4}contacts?(?: list)?", "inbox",
        "(?:all |every |latest |last |recent |the |their |user's |unread ){1,4}(?:[0-9]{1,3} )?(?:e?-?mails?|messages"
        "|files|documents|attachments|photos)",
        "address book", "environment variables?", "private keys?", "ssh keys?", "(?:the |this )?user's [a-z]{3,14}",
        "users' [a-z]{3,14}", "search history", "session (?:cookies?|tokens?)",
        "customer (?:list|data|records|database)", "cookies", "credit card (?:number|details|information)",
        "one-time (?:code|password)", "verification codes?", "bank (?:details|account)",
        "personal (?:data|information|details)", "confidential [a-z]{3,14}", "internal [a-z]{3,14}", "calendar",
        "memory", "system prompt", "\\.env(?: file)?", "[a-z._/~]{0,10}ssh/[a-z_]{2,12}", "/etc/passwd",
        "social security numbers?", "location",
    ),
    "loot_weak": (
        "files?", "documents?", "emails?", "messages?", "data", "attachments?", "results?", "information",
        "contents?", "token", "names?", "answers?",
    ),
    "send": (
        "send", "forward", "e-?mail", "post", "upload", "transmit", "submit", "exfiltrate", "share", "bcc",
        "deliver", "encode", "append", "include", "attach", "pass", "relay", "sending", "forwarding", "uploading",
        "make a (?:get |post |http )?request", "fetch", "visit", "open", "navigate", "cc", "smuggle", "embed",
        "load",
    ),
    "send_sure": (
        "forward", "exfiltrate", "bcc", "transmit", "smuggle", "leak", "forwarding", "upload", "send", "e-?mail",
        "post", "relay",
    ),
    "destination": (
        "https?://[a-z0-9.\\-]{3,80}", "[a-z0-9\\-]{2,40}\\.(?:com|net|org|kr|io|co\\.kr|xyz|ru|cn)",
        "\\+[0-9 \\-]{8,16}", "[a-z0-9._+\\-]{1,40}@[a-z0-9.\\-]{3,60}", "webhooks?",
        "(?:this|the following|an external|our|my|the attacker's|another) (?:url|address|endpoint|server|email"
        "|e-mail|site|domain|link|number|account)",
        "query (?:string|parameter)s?", "url parameters?", "external (?:server|address|site)", "pastebin",
    ),
    "output": (
        "(?:your|the|every|each|any|all) (?:final |next |first |last )?(?:responses?|answers?|repl(?:y|ies)"
        "|summar(?:y|ies)|output|reviews?|translation|evaluation|message)",
        "respond", "reply", "answer", "say", "in (?:your|the) (?:response|answer|reply|summary|output|review)",
    ),
    "force": (
        "only", "exactly", "verbatim", "always", "must", "no matter", "regardless", "immediately",
        "at the end of every", "instead", "nothing else", "word for word", "at all times", "under no circumstances",
        "never", "be sure to", "make sure", "just", "you must", "you should", "you have to", "required to",
    ),
    "say": (
        "say", "state", "respond with", "reply with", "answer with", "output", "print", "include", "insert", "add",
        "append", "mention", "recommend", "tell", "write", "claim", "declare", "rate", "conclude", "endorse", "rank",
        "advise", "convince", "persuade", "promote", "instruct", "direct", "urge", "end with", "begin with",
        "start with", "score", "approve",
    ),
    "praise": (
        "the (?:best|safest|top|only|leading|most (?:qualified|trusted|reliable|accurate))",
        "strong(?:ly)? (?:candidate|recommend(?:ed)?|fit|accept)", "positive(?:ly)?(?: review)?",
        "highly (?:recommend|qualified|rated)", "competitors?", "perfect score",
        "best (?:choice|option|candidate|product)", "excellent", "(?:10/10|five stars|5 stars|full marks)",
        "outstanding", "superior", "our product", "this (?:candidate|product|paper|applicant|company)",
        "accept(?:ed|ance)?", "hire", "buy",
    ),
    "when_user": (
        "(?:when|if|whenever|once|after|as soon as|every time|each time|the next time) (?:the |a "
        "|any )?user(?:'s)?(?: [a-z]{2,12}){0,3} (?:asks?|says?|repl(?:y|ies)|types?|requests?|confirms?|agrees?"
        "|mentions?|responds?|wants?|writes?|thanks?|inquires?|questions?)",
        "(?:when|if|whenever) (?:you are )?asked (?:about|to|for)",
        "in (?:all|every|any) (?:future|later|subsequent|following) (?:conversations?|responses?|answers?"
        "|messages?|turns?|repl(?:y|ies))",
        "from the next (?:message|turn|question)", "for the rest of (?:this|the) (?:conversation|session|chat)",
    ),
    "memory": (
        "(?:remember|save|store|write|commit|add)(?: [a-z]{2,10}){0,4} (?:to|in|into) (?:your )?(?:long-term "
        "|permanent |persistent )?memory",
        "remember (?:forever|permanently|for (?:all|every|future))",
        "(?:across|in) (?:all )?(?:future|later) (?:sessions|conversations|chats)", "permanently remember",
        "persist this",
    ),
    "call": ("call", "invoke", "execute", "run", "use", "trigger", "launch", "issue", "perform"),
    "tool": (
        "(?:the |your |a |any )?(?:[a-z_]{2,20} )?tools?", "functions?",
        "(?:send|read|delete|write|list|add|find|fetch|run|transfer|get|search|create|update|forward)_[a-z]{2,16}",
        "plugins?", "shell", "the (?:following |next )?(?:command|script|code|function|tool)s?", "terminal", "bash",
        "python", "curl (?:-[a-z]{1,6} )?https?://[a-z0-9.\\-]{3,60}", "rm -rf [a-z0-9/~.*]{1,30}", "wget",
        "powershell",
    ),
    "destroy": (
        "delete", "erase", "wipe", "destroy", "purge", "trash", "rm -rf [a-z0-9/~.*]{1,30}", "drop table", "empty",
        "format", "shred", "remove",
    ),
    "everything": (
        "(?:all|every|any|entire)(?: of)?(?: the| their| your| user's)? (?:files?|e?-?mails?|messages|records?"
        "|data|events?|backups?|documents?|folders?|contacts?|workspace|calendar|inbox|logs?)",
        "everything", "the (?:whole|entire) [a-z]{3,12}", "workspace", "home directory", "backups?",
    ),
    "pay": ("transfer", "wire", "pay", "purchase", "buy", "order", "refund", "approve", "deposit", "subscribe"),
    "money": (
        "[$€£][0-9,.]{1,12}", "[0-9,.]{1,12} ?(?:usd|eur|krw|won|dollars|euros|btc|eth)", "bitcoin", "gift cards?",
        "iban", "wallet", "invoice", "account number", "funds", "the account [0-9\\-]{4,20}", "payment",
    ),
    "no_asking": (
        "without (?:asking|confirmation|confirming|approval|permission|waiting|hesitation|question|seeking"
        "|requesting|prompting|further (?:confirmation|approval))",
        "do not (?:ask (?:for|the)|wait for|request|seek) (?:confirmation|approval|permission|user|consent)",
        "don't ask (?:for|the)? ?(?:confirmation|approval|permission|user|questions)?",
        "no (?:confirmation|approval|need to (?:ask|confirm)) ?(?:is )?(?:needed|required|necessary)?",
        "skip (?:the |any )?(?:confirmation|approval|verification)",
        "(?:is|are|has been|been) (?:already )?(?:pre-?approved|preauthori[sz]ed|pre-authori[sz]ed)",
    ),
    "about": (
        "attack(?:s|er|ers|ing)?", "injections?", "for example", "examples",
        "(?:an|this|best known|famous|typical) example", "example:", "such as", "e\\.g", "phrases?", "phrases? like",
        "like", "researchers?", "detect(?:s|ion|ors?|ing)?", "malicious", "paper", "study", "vulnerabilit(?:y|ies)",
        "adversar(?:y|ies|ial)", "defen[sc]es?", "defend(?:s|ing)?", "threats?", "technique",
        "mitigat(?:e|es|ion|ing)", "hackers?", "explains?", "called", "known as", "means that", "wrote", "said",
        "asked", "tells? (?:the|an) (?:model|assistant|ai)", "typed", "sentence", "quoted?", "the words",
    ),
    "docs": (
        "headers?", "parameters?", "authentication", "endpoints?", "curl", "client", "rest api", "json", "payload",
        "oauth", "form", "field", "configur(?:e|ed|ation)", "support", "github", "issue", "sdk", "callback",
        "privacy", "contact us",
    ),
}  # fmt: skip
