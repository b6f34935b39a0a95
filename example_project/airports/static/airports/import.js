// Shows what came of the import as soon as it has ended.

document.addEventListener("import-progress:end", async () => {
  const response = await fetch(location.href);
  if (!response.ok) return; // The bar tells the end all the same; a reload shows the rest.
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  // Its contents only: a screen reader announces changes inside of a live region, not a new one.
  document.querySelector("#result").replaceChildren(...page.querySelector("#result").childNodes);
});
