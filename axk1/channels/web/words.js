// Every word of the page, in both languages.
export const WORDS = {
  en: {
    newChat: "New chat", chats: "Chats", settings: "Settings", done: "Done", remove: "Delete",
    removeAll: "Delete all chats", noChats: "No chats yet.", untitled: "New chat", language: "Language", colours: "Colours", system: "System",
    light: "Light", dark: "Dark", key: "API key", model: "Model",
    keyHint: "Only if the server asks for one. It is kept in this browser and sent to this server alone.",
    keyWanted: "This server asks for an API key. Enter one, and your question is sent again.",
    welcome: "What is on your mind?",
    welcomeNote: "Chats stay in this browser. Answers can be wrong, so check what matters.",
    think: "Think first", stop: "Stop", send: "Send", skip: "To the message field",
    toEnd: "To the end", copy: "Copy", copied: "Copied", edit: "Edit", cancel: "Cancel", again: "Regenerate",
    question: "Your message", answer: "Answer", thinking: "Thinking…", writing: "Writing an answer…",
    thought: (seconds) => `Thought for ${seconds} s`, thoughtBriefly: "Thought briefly",
    stopped: "Stopped.", cut: "Cut off at the length limit.", lost: "The connection ended before the answer did.",
    tokens: (count, rate) => `${count} tokens, ${rate} a second`,
    busy: (seconds) => `The server is busy. Trying again in ${seconds} s.`,
    failed: (why) => `That did not work: ${why}`,
    unreachable: "The server cannot be reached. Check that it runs and that you are online.",
    tooLong: "This chat has grown longer than the model can read. Start a new one.",
    modes: "What to do", modeChat: "Chat", modeAsk: "Ask", modeDo: "Do", "placeholder-chat": "Write a message",
    "placeholder-ask": "Ask the documents", "placeholder-do": "Say what is to be done",
    rewrite: "Reading the question", search: "Searching", read: "Reading passages", check: "Checking every sentence",
    howFound: (count) => `How this was found, ${count} steps`, sources: "Sources", page: (number) => `page ${number}`,
    source: (number, title) => `Source ${number}: ${title}`, write: "Writing",
    struck: (count) => `Struck: ${count} sentence${count === 1 ? "" : "s"} that the sources do not support`,
    confirm: "Shall this be done?", agree: "Yes, do it", refuse: "No", until: (time) => `Open until ${time}.`,
    files: "Files", size: (kilobytes) => `${kilobytes} KB`, cancelled: "Cancelled.",
    notSaved: "The browser's storage is full: this chat is not kept. Delete older ones.",
  },
  ko: {
    newChat: "새 대화", chats: "대화 목록", settings: "설정", done: "완료", remove: "삭제", removeAll: "모든 대화 삭제",
    noChats: "아직 대화가 없습니다.", untitled: "새 대화", language: "언어", colours: "색", system: "시스템",
    light: "밝게", dark: "어둡게", key: "API 키", model: "모델",
    keyHint: "서버가 요구할 때만 필요합니다. 이 브라우저에만 보관하고 이 서버에만 보냅니다.",
    keyWanted: "이 서버는 API 키를 요구합니다. 키를 넣으면 질문을 다시 보냅니다.",
    welcome: "무엇이 궁금하신가요?",
    welcomeNote: "대화는 이 브라우저에만 남습니다. 답이 틀릴 수 있으니 중요한 것은 확인하세요.",
    think: "생각하고 답하기", stop: "멈춤", send: "보내기", skip: "입력란으로",
    toEnd: "맨 아래로", copy: "복사", copied: "복사됨", edit: "고치기", cancel: "취소", again: "다시 쓰기",
    question: "보낸 메시지", answer: "답", thinking: "생각하는 중…", writing: "답을 쓰는 중…",
    thought: (seconds) => `${seconds}초 동안 생각함`, thoughtBriefly: "잠깐 생각함",
    stopped: "멈췄습니다.", cut: "길이 제한에서 끊겼습니다.", lost: "답이 끝나기 전에 연결이 끊겼습니다.",
    tokens: (count, rate) => `${count}토큰, 초당 ${rate}토큰`,
    busy: (seconds) => `서버가 붐빕니다. ${seconds}초 뒤에 다시 보냅니다.`,
    failed: (why) => `되지 않았습니다: ${why}`,
    unreachable: "서버에 닿지 않습니다. 서버가 켜져 있는지, 네트워크에 연결되어 있는지 확인하세요.",
    tooLong: "대화가 모델이 읽을 수 있는 길이를 넘었습니다. 새 대화를 시작하세요.",
    modes: "할 일", modeChat: "대화", modeAsk: "찾기", modeDo: "시키기", "placeholder-chat": "메시지를 입력하세요",
    "placeholder-ask": "문서에 물어보세요", "placeholder-do": "시킬 일을 적으세요",
    rewrite: "질문 읽기", search: "찾는 중", read: "글 읽기", check: "문장마다 확인", write: "쓰는 중",
    howFound: (count) => `찾은 과정, ${count}단계`, sources: "출처", page: (number) => `${number}쪽`,
    source: (number, title) => `출처 ${number}: ${title}`,
    struck: (count) => `출처가 뒷받침하지 않아 지운 문장 ${count}개`,
    confirm: "이대로 할까요?", agree: "네, 하세요", refuse: "아니요", until: (time) => `${time}까지 답할 수 있습니다.`,
    files: "파일", size: (kilobytes) => `${kilobytes}KB`, cancelled: "취소했습니다.",
    notSaved: "브라우저의 저장 공간이 가득 차 이 대화를 보관하지 못합니다. 오래된 대화를 지우세요.",
  },
};
export const LANGUAGES = Object.keys(WORDS);
const preferred = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in WORDS) ?? "en";
let language = preferred;

// One sentence in the language of the page; arguments fill in what it counts.
export function word(name, ...values) {
  const found = WORDS[language][name];
  return typeof found === "function" ? found(...values) : found;
}

// Takes a language, or what the browser prefers, and writes the page in it.
export function speak(chosen) {
  language = LANGUAGES.includes(chosen) ? chosen : preferred;
  document.documentElement.lang = language;
  translate(document);
  return language;
}

// Writes the words of the elements in `root`: data-word is the text, data-label the name of a button without text.
export function translate(root) {
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of root.querySelectorAll("[data-placeholder]")) {
    element.placeholder = word(element.dataset.placeholder);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.ariaLabel = word(element.dataset.label);
    if (element.matches("button")) element.title = element.ariaLabel;
  }
}
