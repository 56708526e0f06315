// Before anything is painted: the colours that the reader has chosen, if not those of the system.
document.documentElement.dataset.theme = localStorage.getItem("setting.theme") ?? "";
