% # A question that needs no script: the real button is inside a disclosure.
% # Wants: action, what (the thing's name).
<details class="confirm" name="confirm">
  <summary class="button danger" aria-label="{{t("delete.label", name=what)}}"><svg class="icon" aria-hidden="true"><use href="{{static('icon.svg')}}#trash"/></svg><span class="word"> {{t("delete.word")}}</span></summary>
  <form class="panel" method="post" action="{{action}}">
% include('_token.tpl')
    <input type="hidden" name="_method" value="DELETE">
    <p>{{!t.html("delete.question", name=t.tag("strong", what))}}</p>
    <button class="button danger solid">{{t("delete.button")}}</button>
  </form>
</details>
