// Of several stores of cookies a browser may keep for a frame, ask for the one that the workspace's tab has.
document.getElementById("here").addEventListener("click", async (event) => {
  event.preventDefault();
  try {
    await document.requestStorageAccess();
  } catch {
    // Refused, or not known: the frame has what cookies it has.
  }
  location.replace(location.pathname + location.search);
});
