// This file knows how the browser keeps the word that names its session: a cookie of this host, gone with the browser.

export default function render({ data }) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${data.name}=${data.word}; path=/; SameSite=Strict${secure}${data.word ? "" : "; Max-Age=0"}`;
}
