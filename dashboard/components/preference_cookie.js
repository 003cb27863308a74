// This file knows how the browser keeps a choice that is no secret, such as the language: a cookie that stays a year.

export default function render({ data }) {
  const age = data.value ? 31536000 : 0;
  document.cookie = `${data.name}=${data.value}; path=/; SameSite=Lax; Max-Age=${age}`;
}
