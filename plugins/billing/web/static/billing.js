// Shown in Airflow's frame: follows Airflow's own theme, and opens links to Airflow's pages in Airflow. Without this
// script the theme is the system's, and every page of ours works the same.
"use strict";
(() => {
  let outside = null;
  try {
    outside = window.parent !== window ? window.parent.document.documentElement : null;
  } catch {
    return; // a frame without Airflow's origin
  }
  if (!outside) return;
  const follow = () => {
    const dark = outside.classList.contains("dark") || outside.dataset.theme === "dark";
    const light = outside.classList.contains("light") || outside.dataset.theme === "light";
    if (dark || light) document.documentElement.dataset.theme = dark ? "dark" : "light";
  };
  follow();
  new MutationObserver(follow).observe(outside, { attributes: true, attributeFilter: ["class", "data-theme"] });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-airflow]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault(); // the frame may not navigate its parent by a link: it asks Airflow's own router
    window.parent.history.pushState(null, "", link.href);
    window.parent.dispatchEvent(new PopStateEvent("popstate"));
  });
})();
