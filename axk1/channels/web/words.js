// Every word of the page, in both languages.
export const WORDS = {
  en: {
    new: "New chat", otherLanguage: "한국어", theme: "Light / dark", think: "Think first", again: "Regenerate",
    stop: "Stop", send: "Send", placeholder: "Write a message. Enter sends, Shift + Enter breaks the line.",
    thought: "Reasoning", thinking: "Thinking…", stopped: "Stopped.", cut: "Cut off at the length limit.",
    tokens: (count, seconds) => `${count} tokens, ${(count / seconds).toFixed(0)} a second`,
    failed: (why) => `That did not work: ${why}`,
  },
  ko: {
    new: "새 대화", otherLanguage: "English", theme: "밝게 / 어둡게", think: "풀이 후 답하기", again: "다시 쓰기",
    stop: "멈춤", send: "보내기", placeholder: "메시지를 쓰세요. Enter는 보내기, Shift + Enter는 줄바꿈입니다.",
    thought: "풀이", thinking: "생각하는 중…", stopped: "멈췄습니다.", cut: "길이 제한에서 끊겼습니다.",
    tokens: (count, seconds) => `${count}토큰, 초당 ${(count / seconds).toFixed(0)}`,
    failed: (why) => `되지 않았습니다: ${why}`,
  },
};
