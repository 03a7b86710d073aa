<%
rebase('layout.tpl', title=t("errors.title", title=title) if page.error else title)
%>
<div class="head"><h1>{{title}}</h1></div>
% if page.done:
<p class="notice good" role="status">{{page.done}}</p>
% end
% if page.left:
<div class="scroll" role="region" aria-labelledby="left" tabindex="0">
<table class="data wrapped">
  <caption id="left">{{t("several.left")}}</caption>
  <thead><tr><th scope="col">{{t("files.name")}}</th><th scope="col">{{t("several.why")}}</th></tr></thead>
  <tbody>
%   for one in page.left:
    <tr><td><bdi>{{one.called}}</bdi></td><td>{{one.why}}</td></tr>
%   end
  </tbody>
</table>
</div>
% end
% if page.words:
<form class="form several-asked" method="post" action="{{page.action}}">
%   include('_token.tpl')
  <input type="hidden" name="do" value="{{page.do}}">
%   if page.id:
  <input type="hidden" name="id" value="{{page.id}}">
%   end
  <p>{{page.words}}</p>
%   if page.rows:
%     include('_entries.tpl', entries=page.rows)
%   end
%   if page.taken:
  <div class="actions">
%     if page.may_replace:
    <button class="button" name="clash" value="replace">{{t("uploaded.replace")}}</button>
%     end
    <button class="button solid" name="clash" value="both">{{t("uploaded.keep")}}</button>
    <a class="button" href="{{page.back_href}}">{{t("form.cancel")}}</a></div>
%     if page.name:
  <div class="field{{" wrong" if page.error else ""}}"><label for="other-name">{{t("trash.other_name")}}</label>
%       if page.error:
    <p class="error" id="other-name-error">{{page.error}}</p>
%       end
    <input type="text" id="other-name" name="name" value="{{page.name}}" maxlength="255" autocomplete="off" dir="auto"\\
%       if page.error:
 aria-invalid="true" aria-describedby="other-name-error"\\
%       end
></div>
  <div class="actions"><button class="button" name="clash" value="name">{{t("trash.restore_named")}}</button></div>
%     end
%   else:
  <div class="actions"><button class="button danger solid" name="sure" value="1">{{page.submit}}</button>
    <a class="button" href="{{page.back_href}}">{{t("form.cancel")}}</a></div>
%   end
</form>
% else:
<p><a href="{{page.back_href}}">{{t("several.back", name=page.back)}}</a></p>
% end
