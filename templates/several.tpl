% rebase('layout.tpl')
<div class="head"><div><h1>{{title}}</h1>
  <p class="note"><bdi>{{page.form_title}}</bdi></p></div></div>
% if page.step == "report":
%   if page.done:
<p class="notice good" role="status">{{page.done}}</p>
%   end
%   if page.going:
%     include('_going.tpl')
%   end
%   if page.conflicts:
%     include('_clashes.tpl')
%   end
%   if page.left:
<div class="scroll" role="region" aria-labelledby="left" tabindex="0">
<table class="data wrapped">
  <caption id="left">{{t("several.left")}}</caption>
  <thead><tr><th scope="col">{{t("several.record")}}</th><th scope="col">{{t("several.why")}}</th></tr></thead>
  <tbody>
%   for one in page.left:
    <tr><td>\\
%     if one.href:
<a href="{{one.href}}"><bdi>{{one.called}}</bdi></a>\\
%     else:
<bdi>{{one.called}}</bdi>\\
%     end
</td><td>{{one.why}}</td></tr>
%   end
  </tbody>
</table>
</div>
%   end
% else:
%   if page.gone:
<p class="notice" role="status">{{t("several.gone_before", n=page.gone)}}</p>
%   end
%   if page.rows:
<form class="form several-asked" method="post" action="{{page.action}}">
%     include('_token.tpl')
  <input type="hidden" name="do" value="{{page.step}}">
%     if page.step == "delete":
  <p>{{t("several.delete_note")}}</p>
%     elif page.targets:
  <p>{{t("several.move_note")}}</p>
%     else:
  <p class="notice bad" role="status">{{t("several.apart", states=page.states)}}</p>
%     end
  <fieldset class="several-rows"><legend>{{t("several.rows")}}</legend>
  <ul class="plain">
%     for number, one in enumerate(page.rows):
    <li class="choice"><input type="checkbox" id="row-{{number}}" name="id" value="{{one.value}}" checked>
      <label for="row-{{number}}"><bdi>{{one.called}}</bdi></label>\\
%       if one.state:
 <span class="pill {{one.badge}}"><bdi>{{one.state}}</bdi></span>\\
%       end
</li>
%     end
  </ul>
  </fieldset>
%     if page.step == "delete":
  <div class="actions"><button class="button danger solid" name="sure" value="1">{{t("several.delete_now")}}</button>
%     elif page.targets:
  <div class="field"><label for="comment">{{t("moves.comment_label")}}</label><textarea id="comment" name="comment" rows="2" maxlength="2000" dir="auto"></textarea></div>
  <div class="actions" role="group" aria-label="{{t("moves.onward")}}"><span class="note" aria-hidden="true">{{t("moves.onward")}}</span>
%       for one in page.targets:
    <button class="button {{one.badge}}" name="to" value="{{one.value}}"><bdi>{{one.title}}</bdi></button>
%       end
%     else:
  <div class="actions"><button class="button">{{t("several.again")}}</button>
%     end
    <a class="button" href="{{page.back_href}}">{{t("form.cancel")}}</a></div>
</form>
%   end
% end
% if page.step == "report" or not page.rows:
<p><a href="{{page.back_href}}">{{t("several.back", name=page.back)}}</a></p>
% end
