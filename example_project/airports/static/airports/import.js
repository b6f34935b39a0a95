// Shows the result as soon as the import has ended.

document.addEventListener("import-progress:end", async ({ detail }) => {
  if (detail.initial) return; // The page has the result already.
  const response = await fetch(location.href);
  if (!response.ok) return; // The bar shows the end anyway; a reload shows the rest.
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  // Only its contents: a screen reader announces changes inside a live region, not a new region.
  document.querySelector("#result").replaceChildren(...page.querySelector("#result").childNodes);
});
