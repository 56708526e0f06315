"""English words of requests, written for ``folded`` text: small letters, single spaces."""

_OTHER = (
    "(?:my |your |a |an |the |his |her |some )?(?:ex(?:-| )?(?:girlfriend|boyfriend|wife|husband)?|wife"
    "|husband|girlfriend|boyfriend|neighbou?rs?|boss|co-?workers?|roommate|classmates?|teachers?|friends?"
    "|someone|somebody|person|people|women|woman|man|girl|guy|stranger|partner|employees?|colleagues?"
    "|celebrity|family|parents?|brother|sister|crowd|president|politicians?|police(?: officers?)?|cops?"
    "|judge|students?|school|children|kids|him|her|them)"
)

WORDS: dict[str, tuple[str, ...]] = {
    "ask": (
        "how (?:do|can|could|would|should|might) (?:i|we|you|one|someone)", "how to", "teach me", "show me",
        "tell me", "give me", "step(?:-| )by(?:-| )step", "instructions", "recipe", "tutorial", "guide", "help me",
        "i (?:want|need|would like|wanna|plan|am going|intend) to", "i'd like to", "i'm going to",
        "what(?:'s| is) the (?:best|easiest|fastest|most effective) way", "ways? to",
        "where (?:can|do|could) (?:i|you|we)", "best (?:way|method)", "explain how",
        "what (?:do i need|ingredients|materials|chemicals)", "walk me through", "describe how",
        "list (?:the )?(?:steps|ingredients|methods)", "methods? (?:to|for|of)", "plan (?:for|to)", "teach",
        "provide", "details? (?:on|of)",
    ),
    "write": (
        "write(?: me| a| an| up)?", "create", "generate", "draft", "compose", "design", "code", "script", "template",
        "story", "message", "e?mail", "letter", "image", "picture", "draw", "joke", "post", "essay", "find me",
        "send me", "program", "fan ?fiction", "describe", "produce", "translate",
    ),
    "safe": (
        "prevent(?:s|ing|ion)?", "avoid(?:ing)?", "protect(?:s|ing|ion)?", "report(?:ing)?",
        "detect(?:s|ing|ion|or)?", "history", "why", "laws?", "legal(?:ly|ity)?", "illegal", "penalt(?:y|ies)",
        "statistics", "symptoms?", "treat(?:ment|ed)?", "victims?", "defen[ds][a-z]{0,5}", "signs? of", "risks?",
        "dangers?", "dangerous", "policy", "policies", "awareness", "recogni[sz]e", "identify", "remove", "removal",
        "recover(?:y|ing)?", "addict(?:ion|ed|s)?", "support(?:ing)?", "hotline",
        "help (?:a|my|someone) (?:friend|who)", "worried about", "who (?:invented|discovered|was|were)",
        "when (?:was|did|were)", "ban(?:ned|s|ning)?", "regulat[a-z]{1,6}", "documentary", "effects?",
        "stop (?:people|someone|a)", "safe(?:ly|ty)?", "spot", "scanned", "infected", "was hacked", "got hacked",
        "been hacked", "rights", "argument (?:for|against)", "ethic(?:s|al)", "debate", "quit(?:ting)?", "counter",
        "against", "opinion", "compare", "difference", "disposal", "dispose", "summari[sz]e",
    ),
    "define": (
        "what (?:is|are|was|were|does)(?! the (?:best|easiest|fastest|most)| an? (?:good|easy|quick|painless)"
        "| some ways)",
    ),
    "crime": (
        "sex(?:ual)? (?:offend[a-z]{1,3}|crimes?|assault|violence|abuse|orientation|education|harassment)",
        "offenders?", "punish[a-z]{0,6}", "sentenced?", "arrest(?:ed|ing)?", "indicted", "criminals", "trial",
        "convicted", "do you think", "eradicate", "acts committed", "incidents?", "suspect", "prison",
    ),
    "evade": (
        "without (?:getting|being) (?:caught|detected|noticed|traced|seen)", "get away with", "undetected",
        "untraceable", "no evidence", "(?:hide|destroy|dispose of|get rid of) (?:the )?(?:body|evidence|corpse)",
        "anonymously", "dark ?web",
        "without (?:them|her|him|anyone|the police|my wife|my husband|their|his|her)(?: [a-z]{2,12})? (?:knowing"
        "|knowledge|noticing|finding out|consent)",
        "secretly", "evade (?:police|detection|customs)", "from the police", "past customs", "no questions asked",
    ),
    "make": (
        "mak(?:e|ing)", "build(?:ing)?", "assembl(?:e|ing)", "synthesi[sz](?:e|ing)", "construct(?:ing)?",
        "detonat(?:e|ing)", "set(?:ting)? off", "blow(?:ing)? up", "manufactur(?:e|ing)", "produc(?:e|ing)",
        "convert", "3d(?:-| )print(?:ing|ed)?", "cultur(?:e|ing)", "weaponi[sz](?:e|ing)", "creat(?:e|ing)",
        "buy(?:ing)?", "get", "obtain", "acquire", "homemade", "enrich", "prepare", "mix",
    ),
    "weapon": (
        "(?:pipe |nail |car |dirty |pressure cooker |time |fertili[sz]er |homemade |nuclear )?bombs?", "explosives?",
        "molotov(?: cocktails?)?", "grenades?", "nerve (?:agents?|gas)", "sarin", "anthrax", "napalm", "thermite",
        "ieds?", "silencers?", "suppressors?", "ghost guns?", "untraceable guns?", "detonators?",
        "chemical weapons?", "biological weapons?", "bioweapons?", "mustard gas", "chlorine gas", "ricin", "vx gas",
        "land ?mines?", "automatic rifles?", "c-?4", "tnt", "firearms?", "nitroglycerin",
        "improvised explosive devices?", "botulinum toxin",
    ),
    "die": (
        "kill myself", "end my (?:own )?life", "ending (?:my|it) (?:life|all)", "end it all",
        "(?:any )?reason to (?:live|be alive|go on)", "pills ready", "hang myself",
        "painless(?:ly)? (?:way to )?(?:die|death)",
        "i (?:want|wish|just want) to (?:die|be dead|disappear forever)", "take my own life",
        "don't want to (?:live|be alive|exist)", "my suicide note", "jump off a (?:bridge|building)", "lethal dose",
        "quickest way to die", "shoot myself",
    ),
    "suicide": ("suicide", "commit suicide", "suicide note"),
    "hurt_self": (
        "self(?:-| )harm(?:ing)?", "cut(?:ting)? myself", "hurt(?:ing)? myself", "burn(?:ing)? myself",
        "starv(?:e|ing) myself", "overdose on", "injure myself", "punish myself physically",
    ),
    "minor": (
        "minors?", "child(?:ren)?", "underage", "pre-?teens?", "teenage (?:girl|boy)s?", "teen (?:girl|boy)s?",
        "schoolgirls?", "schoolboys?", "loli(?:con)?", "shota", "kids?", "(?:[0-9]|1[0-7])(?:-| )year(?:-| )olds?",
        "little (?:girl|boy)s?", "toddlers?",
        "(?:middle|elementary|high) school(?:er|ers| student| students| girl)?", "young (?:girl|boy)s?", "jailbait",
    ),
    "sexual": (
        "sexual(?:ly)?", "nudes?", "naked", "porn(?:ography|ographic)?", "erotic(?:a)?", "sex", "sexy", "explicit",
        "nsfw", "lewd", "seduc(?:e|ing|tive)", "smut", "undress(?:ed|ing)?", "groom(?:ing)?", "intimate photos?",
        "intercourse", "aroused", "molest(?:ing)?",
    ),
    "malware": (
        "ransomware", "malware", "keyloggers?", "trojans?", "computer virus(?:es)?", "botnets?", "ddos", "rootkits?",
        "backdoors?", "spyware", "zero(?:-| )day exploits?", "exploits?", "computer worms?",
        "self(?:-| )replicating (?:virus|worm|program)", "info(?:-| )?stealers?", "remote access trojans?",
        "malicious (?:code|software|macro|script|payload|app|program)s?", "virus that", "stealer", "cryptolocker",
        "fork bomb",
    ),
    "deploy": (
        "write", "code", "develop", "build", "mak(?:e|ing)", "create", "deploy", "spread(?:s)?", "infect(?:s)?",
        "launch", "distribute", "program", "script", "install", "encrypts?", "inject", "take down",
        "knock (?:out|offline)", "crash", "python", "deliver", "obfuscate",
    ),
    "hack": (
        "hack(?:ing)?(?: into)?", "crack(?:ing)?", "break(?:ing)? into", "bypass(?:ing)?", "brute(?:-| )force",
        "steal(?:ing)?", "hijack(?:ing)?", "gain (?:unauthori[sz]ed )?access", "log ?in(?:to)? (?:someone|another)",
        "intercept", "phish", "guess", "take over", "unlock", "sniff",
    ),
    "target": (
        "(?:facebook|instagram|gmail|bank|email|e-mail|twitter|icloud|snapchat|whatsapp|social media|paypal"
        "|netflix|someone's|their|her|his) (?:account|password|email|phone|login)s?",
        "accounts?", "passwords?", "wi-?fi", "phone", "servers?", "camera", "computers?", "website", "network",
        "database", "atm", "security system", "credit card numbers?", "icloud", "instagram", "pin",
        "school (?:system|grades|server)", "car", "webcams?", "licen[cs]e (?:check|key)",
    ),
    "fraud": (
        "phishing", "scam(?:s|ming)?", "fraud",
        "fake (?:ids?|passports?|documents?|reviews?|invoices?|diploma|driver'?s licen[cs]e|prescriptions?"
        "|receipts?|charity|vaccine card|doctor'?s note|news)",
        "counterfeit(?:ing)?", "launder(?:ing)?(?: money)?", "money laundering", "ponzi(?: scheme)?",
        "identity theft", "steal (?:someone's |an? )?identit(?:y|ies)", "impersonat(?:e|es|ing)", "forg(?:e|ing|ed)",
        "clone (?:a )?(?:credit )?cards?", "card skimmer", "evade tax(?:es)?", "tax evasion", "insurance fraud",
        "pump and dump", "romance scam", "pyramid scheme", "stolen (?:credit )?cards?", "con (?:old|elderly|people)",
        "shell compan(?:y|ies)",
    ),
    "drug": (
        "meth", "methamphetamine", "crystal meth", "cocaine", "heroin", "fentanyl", "mdma", "ecstasy", "lsd",
        "crack cocaine", "weed", "marijuana", "cannabis", "ghb", "ketamine", "magic mushrooms", "psilocybin", "dmt",
        "opium", "oxycontin", "oxycodone", "date rape drugs?", "roofies", "drugs", "steroids", "xanax",
    ),
    "trade": (
        "cook(?:ing)?", "synthesi[sz](?:e|ing)", "mak(?:e|ing)", "grow(?:ing)?", "buy(?:ing)?", "sell(?:ing)?",
        "smuggl(?:e|ing)", "extract(?:ing)?", "produc(?:e|ing)", "manufactur(?:e|ing)", "deal(?:ing)?", "slip",
        "inject(?:ing)?", "get(?:ting)? (?:some|high|hold)", "without a prescription", "home lab", "obtain",
        "ship(?:ping)?", "spike", "hide", "pass a drug test", "distribute",
    ),
    "kill": (
        "kill(?:ing)?", "murder(?:ing)?(?! case| mystery| charge| trial| rate| suspect)", "assassinat(?:e|ing)",
        "poison(?:ing)?", "stab(?:bing)?", "tortur(?:e|ing)", "kidnap(?:ping)?", "shoot(?:ing)?(?: up)?", "beat up",
        "strangl(?:e|ing)", "burn down", "attack", "hire a hitman", "hitman", "mass shooting",
        "terror(?:ist)? attack", "massacre", "hurt", "injure", "set fire to", "run over", "threaten(?:ing)?",
        "blackmail", "behead", "arson", "lynch",
    ),
    "person": (_OTHER,),
    "spy": (
        f"(?:spy(?:ing)? on|stalk(?:ing)?|track(?:ing)?|follow(?:ing)?|eavesdrop(?:ping)? on|secretly (?:record"
        f"|film|follow|watch)(?:ing)?|monitor(?:ing)?) {_OTHER}",
        "hidden cameras?", "spy cam(?:era)?s?", "doxx?(?:ing)?",
        "(?:find|get|look up|figure out|discover) (?:out )?(?:where )?(?:her|his|someone's|a stranger's|a (?:woman"
        "|girl|man|person)'s|my ex'?s?|this (?:woman|girl|man|person)'?s?) (?:home )?(?:address|phone|location"
        "|lives|ssn|identity)",
        "(?:read|see|intercept|access|check) (?:my )?(?:her|his|someone's|wife's|husband's|girlfriend's"
        "|boyfriend's|partner's) (?:private )?(?:messages|texts|emails|whatsapp|phone|chats|browsing)",
        "deepfakes?", "upskirt", "spyware on", "where (?:she|he) lives", "stalkerware",
        "nude photos? of (?:my|a|her)",
        "(?:put|plant|hide|place) (?:a |an )?(?:gps|tracker|airtag|microphone|camera|bug)",
        "personal information (?:of|about) (?:a|someone|my)",
    ),
    "someone": (_OTHER, "ex'?s?", "someone's", "her", "his", "their"),
    "group": (
        "women", "men", "blacks?", "black people", "whites?", "white people", "jews?", "jewish people", "muslims?",
        "immigrants?", "refugees?", "gays?", "gay people", "lesbians?", "transgender(?:s| people)?", "trans people",
        "disabled(?: people)?", "asians?", "koreans?", "chinese(?: people)?", "mexicans?", "foreigners?",
        "the elderly", "old people", "africans?", "indians?", "christians?", "homosexuals?", "minorities",
        "fat people",
    ),
    "slur": (
        "n[i1]gg[ae]rs?", "ch[i1]nks?", "f[a4]gg?ots?", "sp[i1]cs?", "tr[a4]nn(?:y|ies)", "k[i1]kes?", "ret[a4]rds?",
        "gooks?", "wetbacks?",
    ),
    "despise": (
        "inferior", "subhuman", "vermin",
        "should (?:all )?(?:die|be (?:killed|deported|exterminated|banned|enslaved|beaten))",
        "hat(?:e|eful|ing|red)(?: speech| towards?| against)?", "exterminat(?:e|ed|ion)", "racist", "sexist",
        "homophobic", "antisemitic", "mock(?:s|ing)?", "insult(?:s|ing)?", "deserve to (?:die|suffer)",
        "degrad(?:e|es|ing)", "humiliat(?:e|es|ing)", "dehumani[sz](?:e|es|ing)",
        "are (?:all )?(?:stupid|animals|parasites|criminals|disgusting|dirty|lazy)", "slurs?", "supremacy",
        "get rid of all", "ridicul(?:e|es|ing)",
    ),
    "harmless": (
        "bath bombs?", "photo ?bomb(?:s|ing)?", "bomb cyclone", "seed bombs?", "cherry bombs?",
        "(?:child|parent|zombie|background|python|node) process(?:es)?", "process(?:es)?", "time",
        "weeds? (?:in|from|killer)", "video game", "in (?:minecraft|the game|gta|fortnite)", "movie", "novel",
        "bacteria", "mosquito(?:e?s)?", "cockroach(?:es)?", "bugs", "growth hack(?:s|ing)?", "life hacks?",
        "hackathon", "cake", "photo shoots?", "shoot (?:a |the )?(?:photo|video|film|movie|hoops|portrait)s?",
        "ants", "screenshot", "lights?", "heart attack", "panic attack", "chess", "cough", "conversation", "my own",
        "our own", "egg", "water pistol",
    ),
}  # fmt: skip
