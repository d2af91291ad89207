// What stands behind `#` in the address that somebody came with reaches no server by itself: it goes along in the form,
// so that they arrive at the very place.
"use strict";

const fragment = document.getElementById("fragment");

function take() {
  if (location.hash) fragment.value = location.hash;
}

window.addEventListener("hashchange", take);
take();
