// The theme that was chosen on this machine, before the first paint.

const chosen = localStorage.getItem("thinkdial.theme");
if (chosen) document.documentElement.dataset.theme = chosen;
