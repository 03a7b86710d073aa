% rebase('layout.tpl')
<div class="head"><div><h1>{{title}}</h1>
  <p class="note"><bdi>{{page.form_title}}</bdi></p></div></div>
% if page.error:
<p class="notice bad" role="alert">{{page.error}}</p>
% end
% if page.gone:
<p class="notice" role="status">{{t("several.gone_before", n=page.gone)}}</p>
% end
% if page.rows:
<form class="form several-asked target" method="post" action="{{page.action}}">
%   include('_token.tpl')
  <input type="hidden" name="do" value="{{page.what}}">
%   if len(page.rows) == 1:
  <input type="hidden" name="id" value="{{page.rows[0].value}}">
%   else:
  <details><summary>{{t("files.chosen_many", n=len(page.rows))}}</summary>
%     include('_entries.tpl', entries=page.rows)
  </details>
%   end
  <fieldset class="walk"><legend>{{t("files.where")}}</legend>
    <div class="way">
%   for words, value in page.walk.trail:
      <button class="link" name="at" value="{{value}}"><bdi>{{words}}</bdi></button> <span aria-hidden="true">/</span>
%   end
      <strong><bdi>{{page.walk.here}}</bdi></strong>
    </div>
%   if page.walk.folders:
    <ul class="plain">
%     for words, value in page.walk.folders:
      <li><button class="link" name="at" value="{{value}}"><svg class="icon folder" aria-hidden="true"><use href="{{static('icon.svg')}}#folder"/></svg><bdi>{{words}}</bdi></button></li>
%     end
    </ul>
%   else:
    <p class="note">{{t("files.no_folders")}}</p>
%   end
%   if page.walk.more:
    <p class="note">{{t("files.more_folders")}}</p>
%   end
  </fieldset>
  <div class="actions">
%   if page.takes:
    <button class="button solid" name="to" value="{{page.walk.to}}">{{!t.html("files." + page.what + "_here", folder=t.tag("bdi", page.walk.way))}}</button>
%   end
    <a class="button" href="{{page.back_href}}">{{t("form.cancel")}}</a></div>
%   if page.is_here and page.what == "move":
  <p class="help">{{t("files.is_here")}}</p>
%   elif page.walk.way and not page.takes:
  <p class="help">{{t("files.takes_nothing")}}</p>
%   end
</form>
% else:
<p><a href="{{page.back_href}}">{{t("several.back", name=page.back)}}</a></p>
% end
